"""The section `[compare]`: what the file of a comparison has beside the sections of a run."""

import re
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from distill_worker.config.run_config import cache_place
from shared.degradation import Degradation
from shared.output_kinds import OutputKind

_SET_ELSEWHERE: Final = {
    "data": "which all rows share",
    "teacher": "which all rows share",
    "output": "which [compare] sets",
    "method": "which stands beside settings",
    "plus": "which stands beside settings",
    "budget.n": "which compare.n sets",
    "budget.seed": "which the comparison sets",
    "training.seed": "which the comparison sets",
    "training.device": "which all rows share",
    "training.threads": "which all rows share",
}
"""The settings of a run that no row has of its own, and why."""
_LEAST_SIZES: Final = 6
"""Sizes of the curve of a reference."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ComparedMethod(_Section):
    """One row of the table."""

    label: str
    """The name of the row: letters, digits, spaces and + . , = ( ) _ - only."""
    method: dict[str, Any]
    """The row's method, as in `[method]` of a run."""
    plus: tuple[dict[str, Any], ...] = ()
    """Methods that are added to it, as in `[[plus]]` of a run."""
    settings: dict[str, Any] = {}
    """What differs from the rest of the file in this row, such as `training = {steps = 2000}`: sections of a run, whose
    keys override those of the shared sections."""

    @field_validator("label")
    @classmethod
    def _names_a_folder(cls, label: str) -> str:
        if not re.fullmatch(r"[\w+.,=() -]+", label):
            raise ValueError("expected letters, digits, spaces and + . , = ( ) _ - only")
        return label

    @field_validator("settings")
    @classmethod
    def _are_of_a_row(cls, settings: dict[str, Any]) -> dict[str, Any]:
        tables = {section: values for section, values in settings.items() if isinstance(values, dict)}
        keys = {f"{section}.{key}": value for section, values in tables.items() for key, value in values.items()}
        stated = settings | keys
        for setting, reason in _SET_ELSEWHERE.items():
            if setting in stated:
                raise ValueError(f"expected no value of {setting}, {reason}, got {stated[setting]!r}")
        return settings

    @property
    def folder(self) -> str:
        """The label as the first part of the names of folders."""
        return "".join(letter if letter.isalnum() or letter in "+-.=" else "-" for letter in self.label)


class LocalTeacher(_Section):
    """A network to train on all labels and to serve on this machine."""

    network: str
    """As in [student]."""
    network_file: Path | None = None
    """As in [student]."""
    steps: int = Field(ge=1)
    """Steps of its training."""
    outputs: str | None = None
    """The kinds of output that it sells, as in `teacher-service keys create --outputs`; if absent, its logits."""
    prune: float = Field(default=0.0, ge=0, lt=1)
    """The share of its weights, those with the smallest magnitudes, that become 0 after the training."""
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of Gaussian noise on its logits."""
    decimals: int | None = Field(default=None, ge=0, le=6)
    """Digits after the point that its logits are rounded to."""

    @property
    def variant(self) -> str:
        """The name of the folder of what it sells; empty for the logits of the teacher as it was trained."""
        other = self.model_dump(include={"outputs", "prune", "noise", "decimals"}, exclude_defaults=True)
        return ",".join(f"{name}={value}" for name, value in other.items())

    @property
    def degradation(self) -> Degradation:
        """Of its logits."""
        return Degradation(noise=self.noise, decimals=self.decimals)

    @field_validator("outputs")
    @classmethod
    def _are_kinds(cls, outputs: str | None) -> str | None:
        for kind in [] if outputs is None else outputs.split(","):
            OutputKind.parse(kind.strip())
        return outputs


class Compare(_Section):
    """What is compared, at which sizes, with how many seeds, and what trains the students: the section [compare]."""

    directory: Path
    """The folder of the comparison: its students, its teacher, and its page."""
    n: tuple[int, ...] = Field(min_length=1)
    """Sizes: every row is trained with the outputs of so many samples."""
    seeds: int = Field(default=5, ge=1, le=1000)
    """Number of seeds; each seed draws the initial weights and the order."""
    same_samples: bool = True
    """Whether every seed uses the samples of seed 0. Otherwise each seed draws, and buys, its own."""
    cache: Path | str | None = None
    """The store of bought outputs, as `output.cache` of a run; if absent, `cache.sqlite` in the directory."""
    tensorboard: bool = True
    """As `output.tensorboard` of a run, for each student."""
    trackers: tuple[str, ...] = ()
    """As `output.trackers` of a run, for each student."""
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
    reference: str | None = None
    """The label of the method whose accuracies at 6 sizes or more are the curve of the equivalent calls: how many calls
    it needs for the accuracy of another method."""
    reference_n: tuple[int, ...] = ()
    """Sizes of that curve beside those of `n`: only the reference is trained on them."""
    teacher: LocalTeacher | None = None
    """The teacher to train and serve; if absent, the [teacher] section names one."""
    quota: int | None = Field(default=None, ge=0)
    """Quota of the local teacher's API key; if absent, the most that the comparison can need."""
    methods: tuple[ComparedMethod, ...] = Field(min_length=1)
    """The rows of the table."""

    _cache_is_a_place = field_validator("cache", mode="before")(cache_place)

    @model_validator(mode="after")
    def _settings_fit_the_engine(self) -> "Compare":
        for name in ("address", "gpus_per_student"):
            if self.engine != "ray" and (value := getattr(self, name)) is not None:
                raise ValueError(f"{name}: expected no value with engine = {self.engine!r}, got {value!r}")
        return self

    @model_validator(mode="after")
    def _curve_is_long_enough(self) -> "Compare":
        if self.reference is None and self.reference_n:
            raise ValueError(f"reference_n: expected no value without reference, got {list(self.reference_n)}")
        if self.reference is not None and len(sizes := self.curve_sizes) < _LEAST_SIZES:
            raise ValueError(
                f"reference_n: expected at least {_LEAST_SIZES} sizes with those of n, for the curve of the reference, "
                f"got {', '.join(map(str, sizes))}"
            )
        return self

    @property
    def curve_sizes(self) -> list[int]:
        """The sizes at which the reference is trained, ascending; empty without a reference."""
        return [] if self.reference is None else sorted({*self.n, *self.reference_n})

    @field_validator("n", "reference_n")
    @classmethod
    def _sizes_differ(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(sizes)) < len(sizes):
            raise ValueError(f"expected different sizes, got {', '.join(map(str, sizes))}")
        return sizes

    @field_validator("methods")
    @classmethod
    def _labels_differ(cls, methods: tuple[ComparedMethod, ...]) -> tuple[ComparedMethod, ...]:
        if len({method.folder for method in methods}) < len(methods):
            labels = ", ".join(method.label for method in methods)
            raise ValueError(f"expected different labels, got {labels}; the folders of two rows would be the same")
        return methods
