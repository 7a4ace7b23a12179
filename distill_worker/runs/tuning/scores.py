"""The scores of the trials that are done, on disk: a killed run repeats the trial under way alone.

    tuning/scores.json   a list of trials with their scores
    tuning/trial/        the checkpoint of the trial under way

Invariant: the trials of a run come in one order, so a checkpoint is that of the first trial without a score. The file
of scores is there before the first checkpoint: it makes the run directory this run's own.
"""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from distill_worker.runs.tuning.candidates import Candidate
from distill_worker.training.run_directory import RunDirectory

_SCORES = "scores.json"
_TRIAL = "trial"


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
    """The scores of a run."""

    def __init__(self, run_directory: RunDirectory) -> None:
        self._directory = run_directory.folder("tuning")
        stored = self._directory.read_json(_SCORES)
        self._scores: list[dict[str, Any]] = [] if stored is None else stored.get("scores", [])
        if stored is None:
            self._write()

    def trial_directory(self) -> RunDirectory:
        """The directory of the trial under way. Raises `RunError`."""
        return self._directory.folder(_TRIAL)

    def of(self, trial: Trial) -> float | None:
        """The score of a trial, infinite if its training diverged; None if the trial is not done."""
        facts = trial.facts()
        for scored in self._scores:
            if facts.items() <= scored.items():
                return inf if scored["divergence"] is None else float(scored["divergence"])
        return None

    def add(self, trial: Trial, divergence: float) -> None:
        """Store the score of the trial under way. Raises `RunError`."""
        self._directory.remove_folder(_TRIAL)  # before the next trial, which would resume from its checkpoint
        self._scores.append({**trial.facts(), "divergence": divergence if isfinite(divergence) else None})
        self._write()

    def table(self) -> list[dict[str, Any]]:
        """All of them, in the order in which they were done; JSON-able."""
        return list(self._scores)

    def _write(self) -> None:
        self._directory.write_json(_SCORES, {"scores": self._scores})
