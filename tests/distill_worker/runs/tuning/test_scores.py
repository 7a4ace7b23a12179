"""Scores on disk: they are read back as they were, and the trial under way leaves no trace in the next."""

import json
from math import inf
from pathlib import Path

import pytest

from distill_worker.errors import RunError
from distill_worker.runs.tuning.candidates import Candidate
from distill_worker.runs.tuning.scores import Scores, Trial

TRIAL = Trial(Candidate(10.0, 2e-3, 0.1), steps=30, fold=1)
OTHER = Trial(Candidate(10.0, 2e-3, 0.1), steps=30, fold=2)


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
    """And so is what a killed process left of others."""
    scores = Scores(tmp_path)
    scores.directory_of(OTHER).save_checkpoint({"step": 1})
    scores.directory_of(TRIAL).save_checkpoint({"step": 2})
    assert Scores(tmp_path).directory_of(TRIAL).load_checkpoint() == {"step": 2}
    scores.add(TRIAL, 0.3)
    assert [path.name for path in (tmp_path / "tuning").iterdir()] == ["scores.json"]


def test_no_trial_goes_on_from_the_checkpoint_of_another(tmp_path: Path) -> None:
    """As when earlier scores are restored, or deleted, while a trial is under way."""
    Scores(tmp_path).directory_of(TRIAL).save_checkpoint({"step": 1})
    assert Scores(tmp_path).directory_of(OTHER).load_checkpoint() is None


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"scores": null}',
        '{"scores": {"a": 1}}',
        '{"scores": ["a"]}',
        '{"scores": [{}]}',
        '{"scores": [{"settings": {"depth": 3}, "trial_steps": 3, "fold": 0, "divergence": 1.0}]}',
        '{"scores": [{"settings": {"steps": [3]}, "trial_steps": 3, "fold": 0, "divergence": 1.0}]}',
        '{"scores": [{"settings": {}, "trial_steps": 3, "fold": 0}]}',
        '{"scores": [{"settings": {}, "trial_steps": 3, "fold": 0, "divergence": "low"}]}',
        '{"scores": [{"settings": {}, "trial_steps": 3, "fold": 0, "divergence": NaN}]}',
        f'{{"scores": [{{"settings": {{}}, "trial_steps": 3, "fold": 0, "divergence": 1{"0" * 400}}}]}}',
    ],
)
def test_damaged_file_is_an_error_that_says_what_to_do(content: str, tmp_path: Path) -> None:
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning" / "scores.json").write_text(content)
    with pytest.raises(RunError, match=r"scores\.json: cannot be read .*; restore it, or start again with --fresh"):
        Scores(tmp_path)


def test_disk_that_cannot_be_written_is_an_error_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "tuning").write_text("a file where the folder should be")
    for write in (lambda: Scores(tmp_path).directory_of(TRIAL), lambda: Scores(tmp_path).add(TRIAL, 0.3)):
        with pytest.raises(RunError, match="tuning: cannot write to it"):
            write()
