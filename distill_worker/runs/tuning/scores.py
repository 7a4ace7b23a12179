"""The scores of the trials that are done, on disk: a killed run repeats the trial under way alone.

    tuning/scores.json   a list of trials with their scores
    tuning/trial-1a2b/   the checkpoint of the trial under way, by a digest of the trial

Invariant: a checkpoint is that of the trial in its name, whichever scores are there.
"""

import json
import shutil
from dataclasses import dataclass
from hashlib import sha256
from math import inf, isfinite
from pathlib import Path
from typing import Any, Final

from distill_worker.errors import RunError, storage_errors
from distill_worker.runs.tuning.candidates import Candidate
from distill_worker.training.directory.run_directory import TUNING, RunDirectory
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

    @property
    def folder(self) -> str:
        """The name of the folder that it is trained in."""
        return f"{_TRIAL}-{sha256(json.dumps(self.facts()).encode()).hexdigest()[:12]}"


class Scores:
    """The scores of a run. Every failure of the disk is a `RunError`."""

    def __init__(self, run_directory: Path) -> None:
        self._folder = run_directory / TUNING
        self._file = self._folder / "scores.json"
        self._scores = self._read()

    def directory_of(self, trial: Trial) -> RunDirectory:
        """The directory that a trial is trained in."""
        folder = self._folder / trial.folder
        with storage_errors(self._folder):
            folder.mkdir(parents=True, exist_ok=True)
        return RunDirectory(folder)

    def of(self, trial: Trial) -> float | None:
        """The score of a trial, infinite if its training diverged; None if the trial is not done."""
        return self._scores.get(trial)

    def add(self, trial: Trial, divergence: float) -> None:
        """Store the score of the trial under way; infinite if its training diverged."""
        self._scores[trial] = divergence
        content = json.dumps({"scores": self.table()}, indent=1) + "\n"
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for folder in self._folder.glob(f"{_TRIAL}*/"):  # first, because a full disk then has space for the score
                shutil.rmtree(folder)
            write_atomically(self._file, content.encode())

    def table(self) -> list[dict[str, Any]]:
        """All of them, in the order in which they were done; JSON-able."""
        return [
            {**trial.facts(), "divergence": score if isfinite(score) else None} for trial, score in self._scores.items()
        ]

    def _read(self) -> dict[Trial, float]:
        if not self._file.exists():
            return {}
        try:
            rows = json.loads(self._file.read_text(encoding="utf-8"))["scores"]
            return {
                Trial(Candidate(**row["settings"]), row["trial_steps"], row["fold"]): _score(row["divergence"])
                for row in rows
            }
        except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
            raise RunError(
                f"{self._file}: cannot be read ({error}); restore it, or start again with --fresh"
            ) from error


def _score(stored: Any) -> float:
    """A score as the file has it. Raises `ValueError` or `TypeError` if it is none."""
    if stored is None:
        return inf
    if not isfinite(stored):
        raise ValueError(f"expected a finite divergence or null, got {stored}")
    return float(stored)
