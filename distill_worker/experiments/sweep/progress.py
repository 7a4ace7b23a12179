"""How far a sweep is: its students by what became of them, the calls, and the time that is left."""

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

from distill_worker.cache import Cache
from distill_worker.cache.summary import summarise
from distill_worker.experiments.engines.jobs import default_jobs
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.grid import Sweep, title_of

DONE, IN_TRAINING, WAITING, FAILED = "done", "in training", "waiting", "failed"
STATES = (DONE, IN_TRAINING, WAITING, FAILED)


def status_of(sweep: Sweep) -> dict[str, Any]:
    """The status of a sweep, JSON-able: `points` with their students by state, `holders`, `buyer`, calls, seconds left.

    It is read from the directory: no data set is loaded, no request is sent, and nothing is written.
    """
    directory = SweepDirectory(sweep.directory)
    students = (directory.grid() or {"students": []})["students"]
    states = _states(directory, students)
    points: dict[str, Counter[str]] = {}
    for student in students:
        points.setdefault(title_of(student["point"]), Counter())[states[student["id"]]] += 1
    holders = [holder for student in states if (holder := directory.holder(student)) is not None]
    counts = Counter(states.values())
    left = counts[IN_TRAINING] + counts[WAITING]
    seconds = [directory.result(student)["seconds"] for student, state in states.items() if state == DONE]
    slots = len(holders) or _slots(sweep)
    return {
        "directory": str(directory.path),
        "started": bool(students),
        "students": {state: counts[state] for state in STATES},
        "points": [{"point": title, **{state: of[state] for state in STATES}} for title, of in points.items()],
        "holders": sorted(set(holders)),
        "buyer": directory.buyer(),
        "failures": directory.failures(),
        "calls_bought": _calls_bought(sweep),
        "seconds_left": round(left * statistics.mean(seconds) / slots, 1) if seconds and left else None,
    }


def seconds_left(left: int, done: int, took: float) -> float | None:
    """The seconds that the rest takes at the pace so far; None without a pace."""
    return left * took / done if done and left else None


def duration(seconds: float) -> str:
    """A rough duration for people."""
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def _states(directory: SweepDirectory, students: list[Mapping[str, Any]]) -> dict[str, str]:
    """The state of each different student."""
    finished, failed = directory.finished(), directory.failures()

    def state(student: str) -> str:
        if student in finished:
            return DONE
        if directory.holder(student) is not None:
            return IN_TRAINING
        return FAILED if student in failed else WAITING

    return {student: state(student) for student in dict.fromkeys(one["id"] for one in students)}


def _slots(sweep: Sweep) -> int:
    return sweep.compare.jobs or default_jobs(sweep.points[0].comparison.cells[0].config.training)


def _calls_bought(sweep: Sweep) -> int:
    """The samples that were paid into the cache of the sweep, also while a purchase goes on."""
    place = sweep.points[0].comparison.cells[0].config.output.cache
    if not isinstance(place, str) and not place.exists():
        return 0
    with Cache(place) as cache:
        return summarise(cache).samples_paid
