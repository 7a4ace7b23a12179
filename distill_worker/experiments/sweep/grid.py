"""A sweep as one TOML file describes it: the file of a comparison, and `[sweep]` with the axes of a grid.

Each combination of the axes' values is a point, and each point is one comparison in the sweep's directory.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from distill_worker.config.explanations import explained
from distill_worker.config.load import OnNote
from distill_worker.config.toml_file import parsed, read_toml
from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.cells import Comparison, merged, placed_comparison
from distill_worker.experiments.comparison.compare_section import Compare
from distill_worker.experiments.sweep.sweep_section import POINT, SweepSection, label_of, paths_of
from shared.expectations import no_choice

PRESETS: Final = Path(__file__).parent / "presets"
_NOT_SEMANTIC: Final = (
    "compare.directory",
    "compare.cache",
    "compare.tensorboard",
    "compare.trackers",
    "compare.engine",
    "compare.address",
    "compare.jobs",
    "compare.gpus_per_student",
    "compare.baseline",
    "data.root",
    "data.store",
    "training.threads",
    "training.device",
    "sweep.quick",
    "sweep.question",
    "sweep.compares",
    "sweep.chosen_by_validation",
)
"""Settings that no student depends on."""


@dataclass(frozen=True)
class Point:
    """One combination of the axes' values, which is one comparison."""

    values: Mapping[str, str]
    """By axis."""
    comparison: Comparison

    @property
    def title(self) -> str:
        """Names the point in messages; empty without axes."""
        return title_of(self.values)


@dataclass(frozen=True)
class Sweep:
    """A grid of comparisons, in one directory."""

    source: str
    axes: tuple[str, ...]
    points: tuple[Point, ...]
    question: str
    """What the sweep is to answer; may be empty."""
    compares: tuple[str, ...]
    """The columns whose values the answer compares."""
    chosen_by_validation: tuple[str, ...]
    """The axes whose values every method chooses by validation accuracy."""
    settings: Mapping[str, Any]
    """The settings that students depend on as they are in the file, by name, JSON-able."""
    document: Mapping[str, Any]
    """The file, with what differs because of --quick; JSON-able."""
    command: str
    """The command that runs the sweep, as the user can type it again."""

    @property
    def compare(self) -> Compare:
        """The section `[compare]`, as far as all points share it."""
        return self.points[0].comparison.compare

    @property
    def directory(self) -> Path:
        """The folder of all files of the sweep."""
        return self.compare.directory


def title_of(values: Mapping[str, str]) -> str:
    """The title of the point with these values."""
    return ", ".join(value if axis == POINT else f"{axis} = {value}" for axis, value in values.items())


def preset_names() -> list[str]:
    """The names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_sweep(
    name: str,
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    quick: bool = False,
    on_note: OnNote = lambda _: None,
) -> Sweep:
    """Read the file of a sweep, or a preset.

    Args:
        name: the path of a TOML file, or the name of a preset.
        settings: of `[compare]`, which override those of the file; None overrides nothing.
        quick: whether `[sweep.quick]` overrides the file.
        on_note: called as by `load_config`.

    Raises:
        ConfigError: as `load_comparison`, or the grid is wrong.
    """
    path = Path(name)
    if name in preset_names() and not path.exists():
        document = parsed((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))  # its places start where you are
    elif path.exists() or path.suffix:
        document = read_toml(path)
    else:
        raise ConfigError(f"{name}: expected a TOML file or a preset: {no_choice(name, preset_names())}")
    return parse_sweep(document, path, settings, quick=quick, on_note=on_note)


def parse_sweep(
    document: Mapping[str, Any],
    path: Path,
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    quick: bool = False,
    on_note: OnNote = lambda _: None,
) -> Sweep:
    """Validate a document that was read from `path`; see `load_sweep`. Raises `ConfigError`."""
    if quick:
        document = _quick(document, path)
    section = _section(document, path)
    base = {name: deepcopy(value) for name, value in document.items() if name != "sweep"}
    notes = _each_once(on_note)
    all_points = [
        Point(values, _comparison(values, merged(base, differing), path, settings, notes))
        for values, differing in _combinations(section)
    ]
    optional = {point.label for point in section.points if point.optional}
    points = tuple(point for point in all_points if point.values.get(POINT) not in optional or _has_data(point, notes))
    if not points:
        raise ConfigError(f"{path}: sweep.points: expected at least 1 point whose data set is there, got none")
    if section.chosen_by_validation:
        _check_validation(points, path)
    return Sweep(
        str(path),
        tuple(points[0].values),
        points,
        section.question,
        section.compares,
        section.chosen_by_validation,
        _semantic(document),
        document,
        shlex.join(["distill-worker", "sweep", str(path), *(["--quick"] if quick else [])]),
    )


def _comparison(
    values: Mapping[str, str], document: dict[str, Any], path: Path, settings: Mapping[str, Any], on_note: OnNote
) -> Comparison:
    try:
        comparison = placed_comparison(deepcopy(document), path, settings, on_note=on_note)
    except ConfigError as error:
        raise (error.of(f"sweep, {title_of(values)}") if values else error) from error
    title = title_of(values)
    return comparison.with_cells([cell.model_copy(update={"point": title}) for cell in comparison.cells])


def _check_validation(points: Sequence[Point], path: Path) -> None:
    """Check that every student has validation samples. Raises `ConfigError`."""
    for cell in (cell for point in points for cell in point.comparison.cells):
        if not cell.config.training.validated_share:
            raise ConfigError(
                f"{path}: {cell.label!r}: training.validation_share: expected more than 0, because "
                "sweep.chosen_by_validation chooses by validation samples, got 0; set it to 0.2, for example"
            )


def _has_data(point: Point, on_note: OnNote) -> bool:
    data = point.comparison.cells[0].config.data
    if not data.is_there:
        on_note(f"{point.values[POINT]}: left out, because {data.name} is not in {data.path or data.root}")
    return data.is_there


def _quick(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    section = document.get("sweep", {})
    differing = section.get("quick") if isinstance(section, dict) else None
    if not isinstance(differing, dict):
        raise ConfigError(f"{path}: sweep.quick: expected a section, because of --quick, got none")
    return merged({**document, "sweep": {key: value for key, value in section.items() if key != "quick"}}, differing)


def _section(document: Mapping[str, Any], path: Path) -> SweepSection:
    try:
        return SweepSection.model_validate(document.get("sweep", {}))
    except ValidationError as error:
        raise ConfigError(f"{path}: {explained(error, SweepSection, within='sweep')}") from error


def _combinations(section: SweepSection) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """The values of each point by axis, and the settings that differ from the file; the last axis changes fastest."""
    axes: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    if section.points:
        axes[POINT] = [(point.label, point.settings) for point in section.points]
    for name, values in section.grid.items():
        axes[name] = [(label_of(value), _nested(name, _without_label(value))) for value in values]
    for combination in product(*axes.values()):
        settings: dict[str, Any] = {}
        for _, differing in combination:
            settings = merged(settings, differing)
        yield dict(zip(axes, (label for label, _ in combination), strict=True)), settings


def _nested(name: str, value: Any) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def _without_label(value: Any) -> Any:
    return {key: part for key, part in value.items() if key != "label"} if isinstance(value, dict) else value


def _semantic(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in _flat(document).items()
        if not any(name == other or name.startswith(f"{other}.") for other in _NOT_SEMANTIC)
    }


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a document by name. The axes of a grid stay whole."""
    flat: dict[str, Any] = {}
    for name in paths_of(dict(document)):
        value: Any = document
        for part in _parts(name, document):
            value = value[part]
        flat[name] = value
    return flat


def _parts(name: str, document: Mapping[str, Any]) -> list[str]:
    """The keys on the way to a setting; those of a grid's axes have dots."""
    parts: list[str] = []
    value: Any = document
    rest = name
    while rest:
        key = next(key for key in value if rest == key or rest.startswith(f"{key}."))
        parts.append(key)
        value, rest = value[key], rest[len(key) + 1 :]
    return parts


def _each_once(say: OnNote) -> OnNote:
    said: set[str] = set()

    def say_if_new(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_if_new
