"""What an engine trains: tasks that are small enough to be sent anywhere, and the outcome of each."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import WorkerError

RETRIES: Final = 3
"""How often a task is done again after the death of its worker."""


@dataclass(frozen=True)
class Task:
    """One student to train. It can be sent to another process."""

    label: str
    """Names the student in messages."""
    config: RunConfig
    """The resolved configuration of its training, which need not be that of a whole run: see `config_of_round`."""
    inputs: str
    """The name of what it learns from, in the file of inputs."""
    is_shared: bool = False
    """Whether other processes have the same task: then its outcome may say that it is left to them, or that it failed,
    and the other tasks go on."""


@dataclass(frozen=True)
class Outcome:
    """A trained student's result, and the lines to show the user."""

    result: dict[str, Any]
    notes: tuple[str, ...]
    left: WorkerError | None = None
    """Why a shared task has no result: `RunInUse` if another process trains the student, or what ended its training."""


class Engine(Protocol):
    """Trains the students of a task list."""

    @property
    def slots(self) -> int:
        """The most students that are in training at the same time."""

    def check(self, config: RunConfig) -> None:
        """Check that students of such a configuration can be trained: called before anything is bought.

        Raises:
            ConfigError: they cannot.
        """

    def outcomes(self, tasks: Sequence[Task], inputs: Path) -> Generator[tuple[int, Outcome]]:
        """Train all students; yields the position of each task and its outcome, as the students are finished.

        A task whose worker dies is done again, at most `RETRIES` times. It resumes from its checkpoint. When the
        generator is closed, students in training are ended.

        Args:
            tasks: the students.
            inputs: the file that `inputs_file` wrote.

        Raises:
            RunError: the workers of a task died too often.
            WorkerError: what the training of a student raised.
        """
