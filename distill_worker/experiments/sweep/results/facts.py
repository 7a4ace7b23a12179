"""The facts of a sweep out of its directory, also while students are missing."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from distill_worker.errors import RunError
from distill_worker.experiments.failure_signs.of_comparison import signs_of_comparison
from distill_worker.experiments.failure_signs.several_teachers import several_teachers
from distill_worker.experiments.results.equivalent_calls import equivalents
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.grid import title_of
from distill_worker.experiments.sweep.results.answers import answers
from distill_worker.experiments.sweep.results.tidy_table import tidy_rows
from distill_worker.experiments.sweep.results.validation_choice import choices, chosen_grid, result_of
from distill_worker.training.directory.run_directory import RunDirectory

_NO_TEACHER: Final[Mapping[str, Any]] = {"id": None, "outputs": []}
_VERSIONS: Final = ("python", "torch", "platform", "cuda", "git")


def stored_grid(directory: SweepDirectory) -> dict[str, Any]:
    """What `sweep.json` holds. Raises `RunError` if it does not say what was compared."""
    grid = directory.grid()
    if grid is None or "points" not in grid:
        got = "none" if grid is None else "one of an earlier version"
        raise RunError(
            f"{directory.path}: expected a sweep.json that says what is compared, got {got}; run the command of the "
            "sweep again: it writes the file, trains no finished student again, and pays for nothing twice"
        )
    return grid


def facts_of_sweep(grid: Mapping[str, Any], directory: SweepDirectory) -> dict[str, Any]:
    """The facts of a sweep, JSON-able: `rows`, `answers`, `points`, `sources`, `students`, and others.

    Each point has the facts of a comparison; see `run_comparison`. Its sizes n are those at which all of its students
    have a result.

    Args:
        grid: what `sweep.json` holds. Of values that are chosen by validation, the facts have the chosen ones alone.
        directory: has the results.

    Raises:
        RunError: a file cannot be read.
    """
    ids = dict.fromkeys(student["id"] for student in grid["students"])
    grid = chosen_grid(grid, directory)
    rows = tidy_rows(grid, directory)
    done = [student for student in ids if student in directory.finished()]
    return {
        "directory": str(directory.path),
        "axes": grid["axes"],
        "rows": rows,
        "question": grid["question"],
        "choices": list(choices(grid, directory)),
        "answers": answers(rows, grid["axes"], grid["compares"], grid["bases"]),
        "points": list(_points(grid, directory)),
        "sources": _sources(grid, directory),
        "students": {
            "all": len(ids),
            "done": len(done),
            "seconds": sum(directory.result(one)["seconds"] for one in done),
        },
        "failures": directory.failures(),
        "price": grid["price"],
        "command": grid["command"],
        "file": grid["file"],
        "versions": _versions(directory, done),
        "warnings": _warnings(grid, directory),
    }


def _points(grid: Mapping[str, Any], directory: SweepDirectory) -> Iterator[dict[str, Any]]:
    finished = directory.finished()
    for point in grid["points"]:
        students = [student for student in grid["students"] if student["point"] == point["point"]]
        unfinished = {student["n"] for student in students if student["id"] not in finished}
        sizes = [n for n in point["n"] if n not in unfinished]
        has_curve = point["reference"] is not None and not unfinished & set(point["reference_n"])
        facts = {
            **point,
            "title": title_of(point["point"]),
            "n": sizes,
            "reference": point["reference"] if has_curve else None,
            "reference_n": point["reference_n"] if has_curve else [],
            "teacher": _source(point["source"], directory)["teacher"],
            "quota": None,
            "results": [_result(student, grid, directory) for student in students if student["n"] not in unfinished],
        }
        facts |= {"equivalent_calls": equivalents(facts) if has_curve else []}
        yield facts | {"warnings": signs_of_comparison(facts)}


def _sources(grid: Mapping[str, Any], directory: SweepDirectory) -> list[dict[str, Any]]:
    """The data sets and their teachers, each with how many points learn from it."""
    points = Counter(point["source"] for point in grid["points"])
    data = {point["source"]: point["data"] for point in grid["points"]}
    return [{"data": data[one], "points": points[one], **_source(one, directory)} for one in points]


def _warnings(grid: Mapping[str, Any], directory: SweepDirectory) -> list[str]:
    """Signs of failure that concern several points; results of earlier versions do not name their teacher."""
    finished, ids = directory.finished(), dict[str, dict[str, str | None]]()
    for point in grid["points"]:
        of_source = ids.setdefault(point["source"], {})
        for student in grid["students"]:
            if student["point"] == point["point"] and student["id"] in finished:
                of_source[student["id"]] = directory.result(student["id"]).get("teacher_id")
    signs = [several_teachers(of_source.values()) for of_source in ids.values()]
    return [sign for sign in signs if sign is not None]


def _source(source: str, directory: SweepDirectory) -> dict[str, Any]:
    """The teacher of a source, and its samples that were bought: None where earlier versions stored none."""
    return {"teacher": _NO_TEACHER, "samples": None, **(directory.source(source) or {})}


def _result(student: Mapping[str, Any], grid: Mapping[str, Any], directory: SweepDirectory) -> dict[str, Any]:
    place = {name: student[name] for name in ("method", "track", "n", "seed")}
    return place | result_of(student, grid, directory)


def _versions(directory: SweepDirectory, students: Sequence[str]) -> dict[str, str]:
    """The versions that students were trained with; several processes may have several."""
    environments = [
        (RunDirectory(directory.student(student)).read_json("run.json") or {}).get("environment", {})
        for student in students
    ]
    versions = {
        name: dict.fromkeys(str(one[name]) for one in environments if one.get(name) is not None) for name in _VERSIONS
    }
    return {name: ", ".join(of_name) for name, of_name in versions.items() if of_name}
