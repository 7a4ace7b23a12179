"""A comparison of many methods on the same samples, as one TOML file describes it.

    [compare]           sizes, seeds, engine, baseline, reference, and the teacher to train and serve, if any
    [[compare.methods]] for each row: a label, the method, methods added to it, and settings of this row alone
    everything else     as in the file of a single run, shared by all rows

Each cell is a run in its own directory, so a comparison resumes after a kill.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from distill_worker.config.explanations import explained
from distill_worker.config.load import DEFAULT_PLACES, OnNote, parse_config, place, with_notes
from distill_worker.config.run_config import RunConfig
from distill_worker.config.toml_file import read_toml
from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.compare_section import Compare, ComparedMethod, LocalTeacher
from shared.expectations import no_choice


class Cell(BaseModel):
    """One run of the comparison."""

    model_config = ConfigDict(frozen=True)

    label: str
    n: int
    seed: int
    config: RunConfig
    point: str = ""
    """The point of a sweep that it belongs to."""

    @property
    def title(self) -> str:
        """Names the cell in messages."""
        point = f"{self.point}: " if self.point else ""
        return f"{point}{self.label}, n = {self.n}, seed {self.seed}"

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
        for name in ("baseline", "reference"):
            if (label := getattr(compare, name)) is not None and label not in labels:
                raise ConfigError(f"{source}: compare.{name}: {no_choice(label, labels)}")
        self.cells = [
            Cell(label=method.label, n=n, seed=seed, config=self._run(method, n, seed))
            for n, method in _rows(compare)
            for seed in range(compare.seeds)
        ]

    def with_cells(self, cells: Sequence[Cell]) -> "Comparison":
        """A copy of this comparison with other cells."""
        other = copy(self)
        other.cells = list(cells)
        return other

    def in_directory(self, directory: Path) -> "Comparison":
        """A copy of this comparison whose own teacher is in another directory; its cells stay where they are."""
        other = copy(self)
        other.compare = self.compare.model_copy(update={"directory": directory})
        return other

    @property
    def place_of_service(self) -> Path:
        """The directory of the service of the own teacher: one for each variant, whose key sells other outputs."""
        directory, teacher = self.compare.directory, self.compare.teacher
        return directory if teacher is None else directory / teacher.variant

    def teacher_run(self, teacher: LocalTeacher) -> RunConfig:
        """The run that trains the local teacher."""
        kept = {name: self._base[name] for name in ("data",) if name in self._base}
        return parse_config(
            {
                **kept,
                "student": {"network": teacher.network, "network_file": teacher.network_file},
                "method": {"name": "ce"},
                "training": {"steps": teacher.steps, "threads": 2, "checkpoint_every": 50},
                "output": {"directory": self.compare.directory / "teacher", "tensorboard": self.compare.tensorboard},
            },
            source=self._source,
        )

    def _run(self, method: ComparedMethod, n: int, seed: int) -> RunConfig:
        compare = self.compare
        own = {
            "method": method.method,
            "plus": method.plus,
            "budget": {"n": n, "seed": 0 if compare.same_samples else seed},
            "training": {"seed": seed},
            "output": {
                "directory": compare.directory / "students" / f"{method.folder}-n{n}-seed{seed}",
                "cache": compare.directory / "cache.sqlite" if compare.cache is None else compare.cache,
                "tensorboard": compare.tensorboard,
                "trackers": compare.trackers,
            },
        }
        document = merged(merged(self._base, method.settings), own)
        return parse_config(document, source=f"{self._source}, {method.label!r}")


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
    return placed_comparison(read_toml(path), path, settings, on_note=on_note)


def placed_comparison(
    document: dict[str, Any],
    path: Path,
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    on_note: OnNote = lambda _: None,
) -> Comparison:
    """The comparison in a document that was read from `path`, which is changed; otherwise as `load_comparison`."""
    notes = place(document, path, {name: DEFAULT_PLACES[name] for name in ("data.root", "data.store")})
    for settings_of_row in _settings_of_rows(document):
        notes += place(settings_of_row, path, {})
    if isinstance(compare := document.get("compare"), dict):
        compare |= {name: value for name, value in settings.items() if value is not None}
    comparison = parse_comparison(document, source=str(path))
    noted = with_notes(notes, comparison.cells[0].config, on_note)
    return comparison.with_cells([cell.with_other_caches(noted.output.other_caches) for cell in comparison.cells])


def parse_comparison(document: Mapping[str, Any], *, source: str) -> Comparison:
    """Validate a document that was read from `source`. Raises `ConfigError`."""
    if "sweep" in document:
        raise ConfigError(f"{source}: expected the file of a comparison, got that of a sweep; use distill-worker sweep")
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


def _rows(compare: Compare) -> Iterator[tuple[int, ComparedMethod]]:
    """Every method at each n, and then the reference at the other sizes of its curve."""
    yield from product(compare.n, compare.methods)
    further = [n for n in compare.reference_n if n not in compare.n]
    yield from product(further, [method for method in compare.methods if method.label == compare.reference])


def _settings_of_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings of the rows of a document, which need not be valid."""
    compare = document.get("compare")
    rows = compare.get("methods") if isinstance(compare, dict) else None
    settings = [row.get("settings") for row in (rows if isinstance(rows, list) else ()) if isinstance(row, dict)]
    return [of_row for of_row in settings if isinstance(of_row, dict)]


def merged(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The shared settings with other ones in their place, table by table."""
    result = dict(shared)
    for name, value in own.items():
        if isinstance(value, Mapping) and name in shared:
            before = shared[name]
            result[name] = merged(before, value) if isinstance(before, Mapping) else before
        else:
            result[name] = value
    return result
