"""Scores on disk: they are read back as they were, and the trial under way leaves no trace in the next."""

import json
from math import inf
from pathlib import Path

import pytest

from distill_worker.errors import RunError
from distill_worker.runs.tuning.candidates import Candidate
from distill_worker.runs.tuning.scores import Scores, Trial

TRIAL = Trial(Candidate(10.0, 2e-3, 0.1), steps=30, fold=1)


def test_scores_are_read_back_to_the_last_bit(tmp_path: Path) -> None:
    Scores(tmp_path).add(TRIAL, 0.1 + 0.2)
    assert Scores(tmp_path).of(TRIAL) == 0.1 + 0.2
    [row] = Scores(tmp_path).table()
    settings = {"term_weight": 10.0, "weight_decay": 0.002, "learning_rate": 0.1}
    assert row == {"settings": settings, "trial_steps": 30, "fold": 1, "divergence": 0.1 + 0.2}


@pytest.mark.parametrize(
    "other",
    [
        Trial(Candidate(10.0, 2e-3, 0.1), steps=30, fold=0),
        Trial(Candidate(10.0, 2e-3, 0.1), steps=31, fold=1),
        Trial(Candidate(10.0, 2e-3), steps=30, fold=1),
        Trial(Candidate(10.0, 2e-3, 0.1, temperature=2.0), steps=30, fold=1),
    ],
)
def test_another_trial_has_no_score(other: Trial, tmp_path: Path) -> None:
    scores = Scores(tmp_path)
    scores.add(TRIAL, 0.3)
    assert scores.of(other) is None


def test_diverged_trial_is_null_in_the_file_and_infinite_when_read(tmp_path: Path) -> None:
    Scores(tmp_path).add(TRIAL, inf)
    assert json.loads((tmp_path / "tuning" / "scores.json").read_text())["scores"][0]["divergence"] is None
    assert Scores(tmp_path).of(TRIAL) == inf


def test_checkpoint_of_a_scored_trial_is_gone(tmp_path: Path) -> None:
    """The next trial would go on from it."""
    scores = Scores(tmp_path)
    directory = scores.trial_directory()
    directory.save_checkpoint({"step": 1})
    assert Scores(tmp_path).trial_directory().load_checkpoint() == {"step": 1}
    scores.add(TRIAL, 0.3)
    assert scores.trial_directory().load_checkpoint() is None


def test_file_is_there_before_the_first_trial(tmp_path: Path) -> None:
    """It makes the run directory this run's own, so no other run goes on from the trial's checkpoint."""
    Scores(tmp_path)
    assert (tmp_path / "tuning" / "scores.json").exists()


def test_disk_that_cannot_be_written_is_an_error_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "tuning").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="tuning: cannot write to it"):
        Scores(tmp_path)
