"""The training of a sweep's students by one process of several: each takes the students that no other one trains.

The lease of a student is the lock of its run directory. Its worker takes it, and the kernel frees it when the worker
dies, so a student whose process was killed is taken over at once, and no clock decides.
"""

import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import closing
from typing import Final

from distill_worker.errors import RunError, RunInUse, WorkerError, counted
from distill_worker.experiments.comparison.students import kept
from distill_worker.experiments.display import Display, MoveBar
from distill_worker.experiments.engines import Engine
from distill_worker.experiments.engines.inputs import Inputs, inputs_file
from distill_worker.experiments.engines.tasks import Outcome, Task
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.progress import duration, seconds_left
from distill_worker.experiments.sweep.students import Student

_POLL_SECONDS: Final = 0.5
_MOST_NAMED: Final = 3


def train_shared(
    students: Sequence[Student],
    inputs: Mapping[str, Inputs],
    directory: SweepDirectory,
    engine: Engine,
    *,
    display: Display,
    total: int,
) -> None:
    """Train students, until each has a result or has failed here; the result of each is in the directory then.

    Args:
        students: different ones, without a result.
        inputs: what each learns from, by its id.
        directory: of the sweep.
        engine: trains them.
        display: shows the progress.
        total: the number of all students of the sweep.

    Raises:
        RunError: some failed; the others are trained.
        WorkerError: the engine cannot train.
    """
    names = {id(one): str(number) for number, one in enumerate(inputs.values())}
    tasks = [
        Task(student.cell.title, student.cell.config, names[id(inputs[student.id])], is_shared=True)
        for student in students
    ]
    failures: dict[str, WorkerError] = {}
    waiting = _Waiting(directory, display.note)
    with (
        inputs_file(directory.path, {names[id(one)]: one for one in inputs.values()}) as file,
        display.progress_bar("students", total) as move,
    ):
        progress = _Progress(directory, engine, move, total, {student.id for student in students})
        while unfinished := _unfinished(students, directory, failures):
            free = [place for place in unfinished if directory.holder(students[place].id) is None]
            if not free:
                waiting.wait([students[place] for place in unfinished])
                progress.show()
                continue
            progress.show()
            with closing(engine.outcomes([tasks[place] for place in free], file)) as outcomes:
                try:
                    for position, outcome in outcomes:
                        _keep(students[free[position]], outcome, directory, failures, display)
                        progress.show(last=tasks[free[position]].label)
                except BaseException:
                    display.note("ending the students in training; the same command resumes with those not finished")
                    raise
        progress.show()
    if failures:
        _raise(failures, len(students))


def _unfinished(students: Sequence[Student], directory: SweepDirectory, failures: Mapping[str, object]) -> list[int]:
    ended = directory.finished() | failures.keys()
    return [place for place, student in enumerate(students) if student.id not in ended]


def _keep(
    student: Student,
    outcome: Outcome,
    directory: SweepDirectory,
    failures: dict[str, WorkerError],
    display: Display,
) -> None:
    """Store what became of a student; one that another process trains is left to it."""
    for line in outcome.notes:
        display.note(f"{student.cell.title}: {line}")
    if outcome.left is None:
        directory.store(student.id, kept(student.cell, outcome.result))
    elif not isinstance(outcome.left, RunInUse):
        failures[student.id] = outcome.left
        directory.fail(student.id, str(outcome.left))
        display.note(f"failed: {outcome.left}")


def _raise(failures: Mapping[str, WorkerError], students: int) -> None:
    first = next(iter(failures.values()))
    raise RunError(
        f"expected {counted(students, 'trained student')}, but {len(failures)} of them failed; the first: {first}. The "
        "others are trained, what was bought is in the cache, and the same command tries those that failed again"
    )


class _Progress:
    def __init__(self, directory: SweepDirectory, engine: Engine, move: MoveBar, total: int, ids: Set[str]) -> None:
        self._directory = directory
        self._slots = engine.slots
        self._move = move
        self._total = total
        self._others = total - len(ids)
        self._ids = ids
        self._started = time.monotonic()
        self._before = self._done()

    def show(self, last: str = "") -> None:
        """Move the bar: all processes' results count."""
        done = self._done()
        took = time.monotonic() - self._started
        left = seconds_left(self._total - done, done - self._before, took)
        parts = [
            f"{min(self._slots, self._total - done)} in training",
            *([f"about {duration(left)} left"] if left else []),
            *([f"last: {last}"] if last else []),
        ]
        self._move(done, "; ".join(parts))

    def _done(self) -> int:
        return self._others + len(self._directory.finished() & self._ids)


class _Waiting:
    """Waits for the students of other processes, and says so once for each set of processes."""

    def __init__(self, directory: SweepDirectory, note: Callable[[str], None]) -> None:
        self._directory = directory
        self._note = note
        self._named: list[str] = []

    def wait(self, students: Sequence[Student]) -> None:
        """Wait a while for students that other processes train."""
        holders = sorted({holder for one in students if (holder := self._directory.holder(one.id)) is not None})
        if holders and holders != self._named:
            more = f" and {len(holders) - _MOST_NAMED} more" if len(holders) > _MOST_NAMED else ""
            others = counted(len(students), "student")
            self._note(f"waiting for {others} that other processes train: {', '.join(holders[:_MOST_NAMED])}{more}")
            self._named = holders
        time.sleep(_POLL_SECONDS)
