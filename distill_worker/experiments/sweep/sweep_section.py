"""The section `[sweep]`: what the file of a sweep has beside the sections of a comparison."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shared.expectations import no_choice

_SHARED: Final = (
    "track",
    "data",
    "student",
    "teacher",
    "budget",
    "corruption",
    "augmentation",
    "training",
    "tuning",
    "self_training",
)
"""The sections of a run that all rows of a comparison share."""
_OF_COMPARISON: Final = ("compare.teacher", "compare.n")
"""The settings of `[compare]` that points may differ in."""
_SET_ELSEWHERE: Final = {
    "budget.n": "which compare.n sets",
    "budget.seed": "which the comparison sets",
    "training.seed": "which the comparison sets",
    "training.device": "which all students share",
    "training.threads": "which all students share",
    "data.root": "that changes no student",
    "data.store": "that changes no student",
    **dict.fromkeys(
        ("teacher.price_per_call", "teacher.currency", "teacher.request_size", "teacher.concurrency"),
        "that changes no output",
    ),
}
POINT: Final = "point"
"""The axis of `[[sweep.points]]`."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SweepPoint(_Section):
    """A value of the axis `point`: settings that belong together, such as a data set and its teacher."""

    label: str = Field(min_length=1)
    """The name of the point."""
    settings: dict[str, Any] = {}
    """Sections of a run, and `compare.teacher` and `compare.n`; a key overrides the same key of the file."""
    optional: bool = False
    """Whether the point is left out, with a note, where its data set is absent."""

    @field_validator("settings")
    @classmethod
    def _may_differ(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for name in paths_of(settings):
            check_axis(name)
        return settings


class SweepSection(_Section):
    """The grid of comparisons, and the question that it is to answer: the section [sweep]."""

    grid: dict[str, tuple[Any, ...]] = {}
    """The values of each axis, by the setting that they are values of; every combination is one comparison. A value
    that is a table may have a `label`, which names it."""
    points: tuple[SweepPoint, ...] = ()
    """The values of one more axis."""
    question: str = ""
    """What the sweep is to answer."""
    compares: tuple[str, ...] = ("method",)
    """The columns of the results whose values the answer compares: axes, `method` or `n`. A method is compared with
    `compare.baseline`, another value with the first one."""
    chosen_by_validation: tuple[str, ...] = ()
    """Axes of [training], such as `training.learning_rate`. Every method chooses their values for each n by the
    validation accuracy, on average over the seeds. The tables and the answer have the students with these values alone.
    The accuracy of a student is then that of its weights with the best validation accuracy."""
    quick: dict[str, Any] = {}
    """What differs in the file with --quick, section by section."""

    @field_validator("grid")
    @classmethod
    def _axes_are_settings(cls, grid: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for name, values in grid.items():
            check_axis(name)
            if not values:
                raise ValueError(f"{name}: expected at least 1 value, got none")
            _check_differ(name, [label_of(value) for value in values])
        for name in grid:
            if covering := next((other for other in grid if name.startswith(f"{other}.")), None):
                raise ValueError(f"{name}: expected no axis within the axis {covering}, got one")
        return grid

    @model_validator(mode="after")
    def _columns_exist(self) -> "SweepSection":
        for name in self.chosen_by_validation:
            if name not in self.grid or not name.startswith("training."):
                raise ValueError(
                    f"chosen_by_validation: expected axes of [training], such as training.learning_rate, got {name!r}"
                )
        axes = [*([POINT] if self.points else []), *self.grid]
        columns = ["method", "n", *(name for name in axes if name not in self.chosen_by_validation)]
        for name in self.compares:
            if name not in columns:
                raise ValueError(f"compares: {no_choice(name, columns)}")
        return self

    @model_validator(mode="after")
    def _points_differ(self) -> "SweepSection":
        _check_differ(POINT, [point.label for point in self.points])
        return self


def label_of(value: Any) -> str:
    """The value of an axis as it is named in tables."""
    if isinstance(value, dict):
        return str(value.get("label") or ", ".join(f"{key} = {label_of(part)}" for key, part in value.items()))
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_axis(name: str) -> None:
    """Check that points may differ in a setting. Raises `ValueError`."""
    for setting, reason in _SET_ELSEWHERE.items():
        if name == setting:
            raise ValueError(f"{name}: expected a setting that points may differ in, but this is one {reason}")
    if not any(name == one or name.startswith(f"{one}.") for one in (*_SHARED, *_OF_COMPARISON)):
        raise ValueError(
            f"{name}: expected a setting of {', '.join(_SHARED)}, or {' or '.join(_OF_COMPARISON)}, such as "
            f"student.network, got {name!r}"
        )


def paths_of(settings: dict[str, Any], within: str = "") -> list[str]:
    """The names of settings in nested tables, such as `data.name`."""
    names = []
    for key, value in settings.items():
        name = f"{within}{key}"
        names += paths_of(value, f"{name}.") if isinstance(value, dict) and value else [name]
    return names


def _check_differ(axis: str, labels: list[str]) -> None:
    if len(set(labels)) < len(labels):
        raise ValueError(f"{axis}: expected different values, got {', '.join(labels)}")
