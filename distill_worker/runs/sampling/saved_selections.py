"""The samples that a run selected, saved before any of them is bought.

    rounds/0001.json    the samples of the first round; all samples, if there is only one round
    rounds/0002.json    the samples of the second round, and the student that selected them

Invariant: a saved selection is never made again, and never deleted. A resumed run buys what it began to buy, even on a
machine that rounds sums of floats differently. The selection of a run that got no further gives way to another run's,
and is moved to `rounds/before-1`, or a higher number.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.errors import RunError, storage_errors
from distill_worker.training.directory.earlier_run import move_aside
from distill_worker.training.directory.run_directory import ELSEWHERE, RunDirectory
from shared.atomic_file import write_atomically
from shared.expectations import complaints

ROUNDS: Final = "rounds"
"""The folder of the selections, and of the students that select, in the directory of a run."""


class SavedSelection(BaseModel):
    """The samples of one round."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    round: int
    strategy: str
    seed: int
    student: str | None = None
    """The fingerprint of the student that selected them."""
    teacher_id: str | None = None
    """The teacher whose outputs trained that student. Later rounds are bought from no other."""
    of: dict[str, Any]
    """The part of the run's configuration that the selection depends on."""
    keys: tuple[str, ...]
    """Sample keys in hexadecimal, in the order of selection."""

    @property
    def sample_keys(self) -> list[bytes]:
        """The sample keys as bytes."""
        return [bytes.fromhex(key) for key in self.keys]


@dataclass(frozen=True)
class SavedSelections:
    """The selections in a run directory. Every failure of the disk is a `RunError`."""

    folder: Path
    identity: RunIdentity
    """The part of the run's configuration that the selections depend on."""

    @classmethod
    def in_run(cls, config: RunConfig) -> "SavedSelections":
        """The selections of a run. A selection made at once depends on less than one that needs students."""
        identity = config.identity
        if config.budget.rounds == 1:
            features = {} if config.budget.features == "pixels" else {"features": Path(config.budget.features).name}
            validation = {"validation_share": config.training.validated_share}
            identity = identity.only("data", "budget", "corruption") | features | validation
        return cls(config.output.directory / ROUNDS, identity.with_later_facts(config.data.rule_facts))

    def of_student(self, number: int) -> Path:
        """The run directory of the student that is trained on so many rounds, and selects the next."""
        return self.folder / f"{number:04}"

    def are_free(self) -> bool:
        """Whether another run made these selections, and neither saved a checkpoint nor finished a student.

        Raises:
            RunError: a file is damaged.
        """
        if self._difference(self._stored()) is None:
            return False
        return not any(RunDirectory(folder).has_progress() for folder in (self.folder.parent, *self._of_students()))

    def move_aside(self) -> None:
        """Move the selections to a new folder beside them: some of their samples may be paid for.

        The caller holds `locked`.
        """
        names = [path.name for path in sorted(self.folder.glob("????.json"), reverse=True)]  # the first one last
        with storage_errors(self.folder):
            move_aside(self.folder, names)

    def read(self) -> list[SavedSelection]:
        """All saved selections, in order.

        Raises:
            RunError: a file is damaged, or belongs to another run.
        """
        selections = self._stored()
        if (different := self._difference(selections)) is not None:
            number, difference = different
            raise RunError(
                f"{self._path(number)}: these samples were chosen for another run ({difference}); {ELSEWHERE}. "
                "What was bought is in the cache"
            )
        return selections

    def write(self, selection: SavedSelection) -> None:
        """Save a selection. The caller holds `locked`."""
        with storage_errors(self.folder):
            write_atomically(self._path(selection.round), (selection.model_dump_json(indent=2) + "\n").encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from selecting for this run; they wait for the lock."""
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("w")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _stored(self) -> list[SavedSelection]:
        """All saved selections, of this run or another. Raises `RunError` for a damaged file."""
        selections: list[SavedSelection] = []
        while (path := self._path(len(selections) + 1)).exists():
            try:
                selection = SavedSelection.model_validate_json(path.read_text(encoding="utf-8"))
                _ = selection.sample_keys
            except (OSError, ValueError) as error:
                reason = complaints(error) if isinstance(error, ValidationError) else str(error)
                raise RunError(f"{path}: cannot be read; restore it, or {ELSEWHERE}: {reason}") from error
            selections.append(selection)
        return selections

    def _difference(self, selections: Sequence[SavedSelection]) -> tuple[int, str] | None:
        """The first selection that is another run's, by its number, and the difference."""
        for number, selection in enumerate(selections, 1):
            if (difference := self.identity.difference(selection.of)) is not None:
                return number, difference
        return None

    def _of_students(self) -> Iterator[Path]:
        """The run directories of the students that select."""
        return (path for path in self.folder.glob("????") if path.is_dir())

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04}.json"
