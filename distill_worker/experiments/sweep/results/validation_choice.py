"""The values that every method chooses by the validation accuracy of its students, such as a learning rate.

The test data choose nothing: neither a value nor the weights whose accuracy is reported, which are a student's best by
validation.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.grid import title_of

CHOSEN: Final = "chosen"
"""Of a student whose values were chosen: these values, by axis."""

Grid = Mapping[str, Any]
"""What `sweep.json` holds."""
_Student = Mapping[str, Any]


def axes_of_choice(grid: Grid) -> list[str]:
    """The axes whose values are chosen by validation."""
    axes: list[str] = grid.get("chosen_by_validation", [])  # the files of earlier versions have none
    return axes


def result_of(student: _Student, grid: Grid, directory: SweepDirectory) -> dict[str, Any]:
    """The result of a student. If values are chosen by validation, it is that of its best weights by validation."""
    result = directory.result(student["id"])
    if not axes_of_choice(grid):
        return result
    best = result["best_validation"]
    return {**result, "accuracy": best["accuracy"], "validation_accuracy": best["validation_accuracy"]}


def chosen_grid(grid: Grid, directory: SweepDirectory) -> Grid:
    """The grid with the students of the chosen values alone; the axes of the choice are no axes of it.

    A method chooses for each n, by the mean over its seeds. While some of these students have no result, it has not
    chosen, and one without a result stands for all.
    """
    by = axes_of_choice(grid)
    if not by:
        return grid
    groups: dict[tuple[Any, ...], dict[tuple[str, ...], list[_Student]]] = {}
    for student in grid["students"]:
        values = student["point"]
        rest = {axis: value for axis, value in values.items() if axis not in by}
        chosen = {axis: values[axis] for axis in by}
        group = groups.setdefault((*rest.values(), student["method"], student["n"]), {})
        group.setdefault(tuple(chosen.values()), []).append({**student, "point": rest, CHOSEN: chosen})
    points: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for point in grid["points"]:
        rest = {axis: value for axis, value in point["point"].items() if axis not in by}
        points.setdefault(tuple(rest.values()), {**point, "point": rest})
    return {
        **grid,
        "axes": [axis for axis in grid["axes"] if axis not in by],
        "points": list(points.values()),
        "students": [
            student for group in groups.values() for student in _choice(list(group.values()), grid, directory)
        ],
    }


def choices(grid: Grid, directory: SweepDirectory) -> Iterator[str]:
    """What was chosen, in a sentence for each method of each point; `grid` is of `chosen_grid`."""
    finished = directory.finished()
    sizes: dict[str, dict[str, dict[int, None]]] = {}
    for student in grid["students"]:
        if CHOSEN in student and student["id"] in finished:
            title = ", ".join(part for part in (title_of(student["point"]), student["method"]) if part)
            sizes.setdefault(title, {}).setdefault(title_of(student[CHOSEN]), {})[student["n"]] = None
    for title, of_values in sizes.items():
        parts = [f"{value} with n = {', '.join(map(str, of_value))}" for value, of_value in of_values.items()]
        yield f"{title}: {'; '.join(parts)}."


def _choice(candidates: Sequence[list[_Student]], grid: Grid, directory: SweepDirectory) -> list[_Student]:
    """The students of the value with the best mean validation accuracy; of equal ones, the first."""
    finished = directory.finished()
    if missing := [student for students in candidates for student in students if student["id"] not in finished]:
        return missing[:1]
    return max(
        candidates,
        key=lambda students: statistics.mean(
            result_of(student, grid, directory)["validation_accuracy"] for student in students
        ),
    )
