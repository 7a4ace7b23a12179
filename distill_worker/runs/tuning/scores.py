"""The scores of the trials that are done, on disk: a killed run repeats the trial under way alone.

    tuning/scores.json   a list of trials with their scores
    tuning/trial/        the checkpoint of the trial under way

Invariant: the trials of a run come in one order, so a checkpoint is that of the first trial without a score. The file
of scores is there before the first checkpoint: it makes the run directory this run's own.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any, Final

from distill_worker.errors import RunError
from distill_worker.runs.tuning.candidates import Candidate
from distill_worker.training.run_directory import TUNING, RunDirectory
from shared.atomic_file import write_atomically

_TRIAL: Final = "trial"


@dataclass(frozen=True)
class Trial:
    """One training of one candidate."""

    candidate: Candidate
    steps: int
    fold: int
    """It is scored on this fold, and trained on the others."""

    def facts(self) -> dict[str, Any]:
        """JSON-able."""
        return {"settings": self.candidate.settings(), "trial_steps": self.steps, "fold": self.fold}


class Scores:
    """The scores of a run. Every failure of the disk is a `RunError`."""

    def __init__(self, run_directory: Path) -> None:
        self._folder = run_directory / TUNING
        self._file = self._folder / "scores.json"
        self._scores: list[dict[str, Any]] = []
        if self._file.exists():
            self._scores = self._read()
        else:
            self._write()

    def trial_directory(self) -> RunDirectory:
        """The directory of the trial under way."""
        with self._translated_errors():
            (self._folder / _TRIAL).mkdir(exist_ok=True)
        return RunDirectory(self._folder / _TRIAL)

    def of(self, trial: Trial) -> float | None:
        """The score of a trial, infinite if its training diverged; None if the trial is not done."""
        facts = trial.facts()
        for scored in self._scores:
            if facts.items() <= scored.items():
                return inf if scored["divergence"] is None else float(scored["divergence"])
        return None

    def add(self, trial: Trial, divergence: float) -> None:
        """Store the score of the trial under way; infinite if its training diverged."""
        with self._translated_errors(), suppress(FileNotFoundError):
            shutil.rmtree(self._folder / _TRIAL)  # before the next trial, which would resume from its checkpoint
        self._scores.append({**trial.facts(), "divergence": divergence if isfinite(divergence) else None})
        self._write()

    def table(self) -> list[dict[str, Any]]:
        """All of them, in the order in which they were done; JSON-able."""
        return list(self._scores)

    def _read(self) -> list[dict[str, Any]]:
        try:
            scores: list[dict[str, Any]] = json.loads(self._file.read_text(encoding="utf-8"))["scores"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise RunError(
                f"{self._file}: cannot be read ({error}); restore it, or start again with --fresh"
            ) from error
        return scores

    def _write(self) -> None:
        content = json.dumps({"scores": self._scores}, indent=1) + "\n"
        with self._translated_errors():
            self._folder.mkdir(exist_ok=True)
            write_atomically(self._file, content.encode())

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self._folder}: cannot write to it ({error.strerror or error}); free some space, then the same "
                "command goes on with the trial that it had begun"
            ) from error
