"""A comparison of many methods on the same samples, as one TOML file describes it.

    [compare]           sizes, seeds, engine, the baseline, and the teacher to train and serve, if any
    [[compare.methods]] for each method: a label, the method, and methods added to it
    everything else     as in the file of a single run

Each cell is a run in its own directory, so a comparison resumes after a kill.
"""

import re
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from distill_worker.config.explanations import explained
from distill_worker.config.load import DEFAULT_PLACES, OnNote, parse_config, place, with_notes
from distill_worker.config.run_config import RunConfig, cache_place
from distill_worker.config.toml_file import read_toml
from distill_worker.errors import ConfigError
from shared.expectations import no_choice


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ComparedMethod(_Section):
    """One row of the table."""

    label: str
    method: dict[str, Any]
    plus: tuple[dict[str, Any], ...] = ()

    @field_validator("label")
    @classmethod
    def _names_a_folder(cls, label: str) -> str:
        if not re.fullmatch(r"[\w+.,=() -]+", label):
            raise ValueError("expected letters, digits, spaces and + . , = ( ) _ - only")
        return label


class LocalTeacher(_Section):
    """A network to train on all labels and to serve on this machine."""

    network: str
    network_file: Path | None = None
    """As in [student]."""
    steps: int = Field(ge=1)


class Compare(_Section):
    """The section [compare]."""

    directory: Path
    n: tuple[int, ...] = Field(min_length=1)
    seeds: int = Field(default=5, ge=1, le=1000)
    """Number of seeds; each seed draws the initial weights and the order."""
    same_samples: bool = True
    """Whether every seed uses the samples of seed 0. Otherwise each seed draws, and buys, its own."""
    cache: Path | str | None = None
    """The store of bought outputs, as `output.cache` of a run; if absent, `cache.sqlite` in the directory."""
    engine: Literal["local", "ray"] = "local"
    """What trains the students: processes of this machine, or the workers of a Ray cluster (extra `ray`)."""
    address: str | None = None
    """For `ray`: the cluster to join, such as `auto` or `ray://host:10001`; if absent, this machine alone is one."""
    jobs: int | None = Field(default=None, ge=1)
    """The most students trained at the same time, each in a process of its own. The default is the number of cores
    divided by `training.threads`; with CUDA, the number of GPUs; with `address`, all that the cluster has room for."""
    gpus_per_student: float | None = Field(default=None, ge=0)
    """For `ray`: the GPUs that a student gets, which may be a fraction such as 0.25; by default 1 with CUDA, else 0."""
    baseline: str | None = None
    """The label of the method that all others are tested against."""
    teacher: LocalTeacher | None = None
    """The teacher to train and serve; if absent, the [teacher] section names one."""
    quota: int | None = Field(default=None, ge=0)
    """Quota of the local teacher's API key; if absent, exactly what the comparison needs."""
    methods: tuple[ComparedMethod, ...] = Field(min_length=1)

    _cache_is_a_place = field_validator("cache", mode="before")(cache_place)

    @model_validator(mode="after")
    def _settings_fit_the_engine(self) -> "Compare":
        for name in ("address", "gpus_per_student"):
            if self.engine != "ray" and (value := getattr(self, name)) is not None:
                raise ValueError(f"{name}: expected no value with engine = {self.engine!r}, got {value!r}")
        return self

    @field_validator("methods")
    @classmethod
    def _labels_differ(cls, methods: tuple[ComparedMethod, ...]) -> tuple[ComparedMethod, ...]:
        labels = [method.label for method in methods]
        if len(set(labels)) < len(labels):
            raise ValueError(f"expected different labels, got {', '.join(labels)}")
        return methods


class Cell(BaseModel):
    """One run of the comparison."""

    model_config = ConfigDict(frozen=True)

    label: str
    n: int
    seed: int
    config: RunConfig

    def with_config(self, config: RunConfig) -> "Cell":
        """This cell with another configuration of its run."""
        return self.model_copy(update={"config": config})

    def with_other_caches(self, caches: Sequence[Path]) -> "Cell":
        """This cell with other caches; see `Output`."""
        output = self.config.output.with_other_caches(caches)
        return self.with_config(self.config.model_copy(update={"output": output}))


class Comparison:
    """A comparison; all its runs are validated before any call is spent."""

    def __init__(self, compare: Compare, base: Mapping[str, Any], source: str) -> None:
        """Build all runs. Raises `ConfigError` if one is not valid."""
        self.compare = compare
        self._base = base
        self._source = source
        labels = [method.label for method in compare.methods]
        if compare.baseline is not None and compare.baseline not in labels:
            raise ConfigError(f"{source}: compare.baseline: {no_choice(compare.baseline, labels)}")
        self.cells = [
            Cell(label=method.label, n=n, seed=seed, config=self._run(method, n, seed))
            for n in compare.n
            for method in compare.methods
            for seed in range(compare.seeds)
        ]

    def with_cells(self, cells: Sequence[Cell]) -> "Comparison":
        """A copy of this comparison with other cells."""
        other = copy(self)
        other.cells = list(cells)
        return other

    def teacher_run(self, teacher: LocalTeacher) -> RunConfig:
        """The run that trains the local teacher."""
        kept = {name: self._base[name] for name in ("data",) if name in self._base}
        return parse_config(
            {
                **kept,
                "student": {"network": teacher.network, "network_file": teacher.network_file},
                "method": {"name": "ce"},
                "training": {"steps": teacher.steps, "threads": 2, "checkpoint_every": 50},
                "output": {"directory": self.compare.directory / "teacher"},
            },
            source=self._source,
        )

    def _run(self, method: ComparedMethod, n: int, seed: int) -> RunConfig:
        compare = self.compare
        name = "".join(letter if letter.isalnum() or letter in "+-.=" else "-" for letter in method.label)
        return parse_config(
            {
                **self._base,
                "method": method.method,
                "plus": method.plus,
                "budget": {**self._base.get("budget", {}), "n": n, "seed": 0 if compare.same_samples else seed},
                "training": {**self._base.get("training", {}), "seed": seed},
                "output": {
                    "directory": compare.directory / "students" / f"{name}-n{n}-seed{seed}",
                    "cache": compare.directory / "cache.sqlite" if compare.cache is None else compare.cache,
                },
            },
            source=f"{self._source}, {method.label!r}",
        )


def load_comparison(
    path: Path, settings: Mapping[str, Any] = MappingProxyType({}), *, on_note: OnNote = lambda _: None
) -> Comparison:
    """Read the TOML file of a comparison.

    Args:
        path: the file.
        settings: of `[compare]`, which override those of the file; None overrides nothing.
        on_note: called as by `load_config`.

    Raises:
        ConfigError: as `load_config`.
    """
    document = read_toml(path)
    notes = place(document, path, {"data.root": DEFAULT_PLACES["data.root"]})
    if isinstance(compare := document.get("compare"), dict):
        compare |= {name: value for name, value in settings.items() if value is not None}
    comparison = parse_comparison(document, source=str(path))
    noted = with_notes(notes, comparison.cells[0].config, on_note)
    return comparison.with_cells([cell.with_other_caches(noted.output.other_caches) for cell in comparison.cells])


def parse_comparison(document: Mapping[str, Any], *, source: str) -> Comparison:
    """Validate a document that was read from `source`. Raises `ConfigError`."""
    base = {name: section for name, section in document.items() if name != "compare"}
    if "compare" not in document:
        raise ConfigError(f"{source}: compare: required, but absent; this is the file of a single run")
    for name in ("method", "plus", "output"):
        if name in base:
            raise ConfigError(f"{source}: {name}: unknown key; in a comparison, set it in [compare]")
    try:
        compare = Compare.model_validate(document["compare"])
    except ValidationError as error:
        raise ConfigError(f"{source}: {explained(error, Compare, within='compare')}") from error
    return Comparison(compare, base, source)
