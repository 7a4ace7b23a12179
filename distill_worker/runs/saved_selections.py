"""What was chosen, written down before any of it is bought.

    rounds/0001.json    the first round's samples (the only ones, of a strategy that chooses at once)
    rounds/0002.json    the second's, and the student that they were chosen with

Invariant: a choice that is on disk is never made again, so that a run which goes on buys what it began to buy, whatever
another machine's sums of floats would say.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.errors import RunError
from shared.atomic_file import write_atomically


class Choice(BaseModel):
    """One round's samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    round: int
    strategy: str
    seed: int
    student: str | None = None
    """The fingerprint of the student that they were chosen with."""
    teacher_id: str | None = None
    """Whose outputs that student learnt from: the following rounds are bought of no other."""
    of: dict[str, Any]
    """The run that the choice is a part of."""
    keys: tuple[str, ...]
    """Sample keys in hexadecimal, in the order of choice."""

    @property
    def sample_keys(self) -> list[bytes]:
        """The keys as they are."""
        return [bytes.fromhex(key) for key in self.keys]


@dataclass(frozen=True)
class Choices:
    """The choices in a run directory. Raises `RunError` wherever the disk does not do as it is told."""

    folder: Path
    identity: RunIdentity
    """What the choices depend on."""

    @classmethod
    def in_run(cls, config: RunConfig) -> "Choices":
        """Those of a run. A choice made at once depends on less than one that students have a part in."""
        identity = config.identity
        if config.budget.rounds == 1:
            features = {} if config.budget.features == "pixels" else {"features": Path(config.budget.features).name}
            validation = {"validation_share": config.training.validated_share}
            identity = identity.only("data", "budget", "corruption") | features | validation
        return cls(config.output.directory / "rounds", identity)

    def read(self) -> list[Choice]:
        """All that are there, in order.

        Raises:
            RunError: one is damaged, or belongs to another run.
        """
        found: list[Choice] = []
        while (path := self._path(len(found) + 1)).exists():
            try:
                choice = Choice.model_validate_json(path.read_text(encoding="utf-8"))
                _ = choice.sample_keys
            except (OSError, ValidationError, ValueError) as error:
                raise RunError(
                    f"{path}: cannot be read; restore it, or choose another output.directory ({error})"
                ) from error
            if (difference := self.identity.difference(choice.of)) is not None:
                raise RunError(
                    f"{path}: these samples were chosen for another run ({difference}); choose another output.directory"
                )
            found.append(choice)
        return found

    def write(self, choice: Choice) -> None:
        """Keep a choice; call it with `alone`."""
        try:
            write_atomically(self._path(choice.round), (choice.model_dump_json(indent=2) + "\n").encode())
        except OSError as error:
            raise RunError(f"{self.folder}: cannot write there ({error.strerror or error})") from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from choosing for this run meanwhile; they wait."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("w")
        except OSError as error:
            raise RunError(f"{self.folder}: cannot write there ({error.strerror or error})") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04}.json"
