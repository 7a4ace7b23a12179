"""The students of a sweep: the cells of its points, each with its id and its run directory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill_worker.config.run_config import RunConfig
from distill_worker.config.training_section import AUTO
from distill_worker.experiments.comparison.cells import Cell, Comparison
from distill_worker.experiments.comparison.compare import resolved_comparison
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.grid import Point, Sweep
from distill_worker.experiments.sweep.student_ids import own_teacher_id, source_id, student_id

_SETTLED = ("precision", "memory_format")


@dataclass(frozen=True)
class Student:
    """A cell of a point. Two points may have the same student."""

    id: str
    source: str
    """The id of its data and teacher."""
    values: Mapping[str, str]
    """Of its point, by axis."""
    cell: Cell
    """Its run, in the directory of the sweep."""

    def facts(self) -> dict[str, Any]:
        """JSON-able: its place in the grid, and its id."""
        cell = self.cell
        return {
            "id": self.id,
            "point": dict(self.values),
            "method": cell.label,
            "track": cell.config.data_used,
            "n": cell.n,
            "seed": cell.seed,
        }


@dataclass(frozen=True)
class Source:
    """A data set and its teacher, and students that learn from them."""

    id: str
    comparison: Comparison
    """Its cells are those of the students; its directory is that of the own teacher, if it has one."""
    students: tuple[Student, ...]

    def with_students(self, students: Sequence[Student]) -> "Source":
        """This source with fewer students."""
        comparison = self.comparison.with_cells([student.cell for student in students])
        return Source(self.id, comparison, tuple(students))


@dataclass(frozen=True)
class Grid:
    """A resolved sweep: its points, its students in their order, and the sources that they learn from."""

    points: tuple[Point, ...]
    students: tuple[Student, ...]
    sources: tuple[Source, ...]
    settled: Mapping[str, Mapping[str, str]]
    """What `auto` stands for, by the precision and memory format as they are stated."""


def resolved_grid(sweep: Sweep, directory: SweepDirectory) -> Grid:
    """The sweep with what `auto` stands for: what it began with, or else this machine's. Raises `ConfigError`."""
    settled = dict((directory.grid() or {}).get("settled", {}))
    points, students, sources = [], list[Student](), dict[str, Source]()
    for point in sweep.points:
        comparison = _settle(point.comparison, settled)
        source, own = source_id(comparison), comparison.compare.teacher is not None
        cells = [(student_id(cell.config, source), cell) for cell in comparison.cells]
        of_point = [Student(one, source, point.values, _placed(cell, directory, one)) for one, cell in cells]
        points.append(Point(point.values, comparison.with_cells([student.cell for student in of_point])))
        students += of_point
        if source not in sources:
            place = directory.teacher(own_teacher_id(comparison)) if own else directory.path
            sources[source] = Source(source, comparison.in_directory(place), ())
    return Grid(
        tuple(points),
        tuple(students),
        tuple(
            source.with_students([student for student in students if student.source == source.id])
            for source in sources.values()
        ),
        settled,
    )


def each_once(students: Iterable[Student]) -> list[Student]:
    """The different students, in their order."""
    return list({student.id: student for student in reversed(list(students))}.values())[::-1]


def _settle(comparison: Comparison, settled: dict[str, Mapping[str, str]]) -> Comparison:
    """The resolved comparison. What `auto` stands for is taken from `settled`, or added to it."""
    stated = [cell.config for cell in comparison.cells]
    cells = [cell.with_config(_with_settled(cell.config, settled)) for cell in comparison.cells]
    resolved = resolved_comparison(comparison.with_cells(cells), fresh=False)
    for before, cell in zip(stated, resolved.cells, strict=True):
        settled.setdefault(_key(before), {name: getattr(cell.config.training, name) for name in _SETTLED})
    return resolved


def _with_settled(config: RunConfig, settled: Mapping[str, Mapping[str, str]]) -> RunConfig:
    values = settled.get(_key(config))
    if values is None or AUTO not in (config.training.precision, config.training.memory_format):
        return config
    return config.model_copy(update={"training": config.training.model_copy(update=dict(values))})


def _key(config: RunConfig) -> str:
    return f"{config.training.precision} {config.training.memory_format}"


def _placed(cell: Cell, directory: SweepDirectory, student: str) -> Cell:
    output = cell.config.output.model_copy(update={"directory": directory.student(student)})
    return cell.with_config(cell.config.model_copy(update={"output": output}))
