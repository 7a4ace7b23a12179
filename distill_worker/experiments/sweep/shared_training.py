"""The training of a sweep's students by one process of several: each takes the students that no other one trains.

The lease of a student is the lock of its run directory. Its worker takes it, and the kernel frees it when the worker
dies, so a student whose process was killed is taken over at once, and no clock decides. Students that select samples
are shared in the same way; the last round's students alone have a result in the directory of the sweep.
"""

import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import Final

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import RunError, RunInUse, WorkerError, counted
from distill_worker.experiments.comparison.students import kept
from distill_worker.experiments.display import Display, MoveBar
from distill_worker.experiments.engines import Engine
from distill_worker.experiments.engines.inputs import Inputs, inputs_file
from distill_worker.experiments.engines.tasks import Outcome, Task
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.progress import duration, seconds_left
from distill_worker.experiments.sweep.students import Student
from distill_worker.runs import preflight

_POLL_SECONDS: Final = 0.5
_MOST_NAMED: Final = 3

Failures = Mapping[str, WorkerError]
"""Why the training of some students failed here, by their ids."""


def train_shared(
    students: Sequence[Student],
    inputs: Mapping[str, Inputs],
    directory: SweepDirectory,
    engine: Engine,
    *,
    display: Display,
    total: int,
) -> Failures:
    """Train students, until each has a result in the directory or has failed here.

    Args:
        students: different ones, without a result.
        inputs: what each learns from, by its id.
        directory: of the sweep.
        engine: trains them.
        display: shows the progress.
        total: the number of all students of the sweep.

    Raises:
        WorkerError: the engine cannot train.
    """
    configs = [student.cell.config for student in students]
    training = _SharedTraining(students, configs, inputs, directory, engine, display)
    with display.progress_bar("students", total) as move:
        progress = _Progress(directory, engine, move, total, {student.id for student in students})
        training.run(
            ended=directory.finished,
            keep=lambda student, outcome: directory.store(student.id, kept(student.cell, outcome.result)),
            show=progress.show,
        )
    return training.failures


def train_selecting(
    students: Sequence[Student],
    runs: Mapping[str, preflight.Run],
    inputs: Mapping[str, Inputs],
    directory: SweepDirectory,
    engine: Engine,
    *,
    display: Display,
) -> Failures:
    """Train the students that select the next round's samples; otherwise as `train_shared`.

    Args:
        students: those whose runs have a further round.
        runs: the run of each, by its id.
        inputs: what each learns from in this round, by its id.
        directory: of the sweep.
        engine: trains them.
        display: shows the progress.
    """
    configs, trained = [runs[student.id].training for student in students], set[str]()
    training = _SharedTraining(students, configs, inputs, directory, engine, display)
    with display.progress_bar("students that select", len(students)) as move:
        training.run(
            ended=lambda: trained,
            keep=lambda student, _: trained.add(student.id),
            show=lambda last: move(len(trained), f"last: {last}" if last else ""),
        )
    return training.failures


class _SharedTraining:
    """Trains one task for each student, until each has ended or failed, here or in another process."""

    def __init__(
        self,
        students: Sequence[Student],
        configs: Sequence[RunConfig],
        inputs: Mapping[str, Inputs],
        directory: SweepDirectory,
        engine: Engine,
        display: Display,
    ) -> None:
        """Each student with the configuration of its training; several may share what they learn from."""
        names = {id(one): str(number) for number, one in enumerate(inputs.values())}
        self._students = students
        self._inputs = {names[id(one)]: one for one in inputs.values()}
        self._tasks = [
            Task(student.cell.title, config, names[id(inputs[student.id])], is_shared=True)
            for student, config in zip(students, configs, strict=True)
        ]
        self._directory = directory
        self._engine = engine
        self._display = display
        self.failures: dict[str, WorkerError] = {}

    def run(
        self,
        *,
        ended: Callable[[], Set[str]],
        keep: Callable[[Student, Outcome], None],
        show: Callable[[str], None],
    ) -> None:
        """Train the students.

        Args:
            ended: the ids of the students that have ended.
            keep: stores the outcome of a student, which has ended then.
            show: shows the progress, with the title of the last student that ended here.
        """
        directory, waiting = self._directory, _Waiting(self._directory, self._display.note)
        with inputs_file(directory.path, self._inputs) as file:
            while unfinished := self._unfinished(ended()):
                free = [place for place in unfinished if directory.holder(self._students[place].id) is None]
                show("")
                if free:
                    self._train(free, file, keep, show)
                else:
                    waiting.wait([self._students[place] for place in unfinished])
            show("")

    def _train(
        self, places: Sequence[int], file: Path, keep: Callable[[Student, Outcome], None], show: Callable[[str], None]
    ) -> None:
        with closing(self._engine.outcomes([self._tasks[place] for place in places], file)) as outcomes:
            try:
                for position, outcome in outcomes:
                    self._end(self._students[places[position]], outcome, keep)
                    show(self._tasks[places[position]].label)
            except BaseException:
                self._display.note("ending the students in training; the same command resumes with those not finished")
                raise

    def _unfinished(self, ended: Set[str]) -> list[int]:
        return [
            place
            for place, student in enumerate(self._students)
            if student.id not in ended and student.id not in self.failures
        ]

    def _end(self, student: Student, outcome: Outcome, keep: Callable[[Student, Outcome], None]) -> None:
        """Store what became of a student; one that another process trains is left to it."""
        for line in outcome.notes:
            self._display.note(f"{student.cell.title}: {line}")
        if outcome.left is None:
            keep(student, outcome)
        elif not isinstance(outcome.left, RunInUse):
            self.failures[student.id] = outcome.left
            fail(student, outcome.left, self._directory, self._display)


def fail(student: Student, error: WorkerError, directory: SweepDirectory, display: Display) -> None:
    """Say that the training of a student failed, and write down why."""
    directory.fail(student.id, str(error))
    display.note(f"failed: {error}")


def check_none_failed(failures: Failures, students: int) -> None:
    """Raise `RunError` if some of so many students failed."""
    if failures:
        first = next(iter(failures.values()))
        raise RunError(
            f"expected {counted(students, 'trained student')}, but {len(failures)} of them failed; the first: {first}. "
            "The others are trained, what was bought is in the cache, and the same command tries those that failed "
            "again"
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
