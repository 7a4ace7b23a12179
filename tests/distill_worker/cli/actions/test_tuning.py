"""`[tuning]` from the command line: it buys nothing, says what it chose, and fails before anything is bought."""

import json
from pathlib import Path

from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher

_TUNING = (
    "--set=method={name='kd'}",
    "--set=tuning.folds=2",
    "--set=tuning.term_weights=[1,10]",
    "--set=tuning.weight_decays=[]",
    "--set=tuning.learning_rates=[0.01]",
)


def test_run_says_what_it_chose_and_buys_nothing_more(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """The calls are those of the samples, however many trials there are."""
    ended = command("run", config, "--json", *_TUNING)
    result = facts_of(ended)
    assert teacher.paid == 10
    assert result["calls"] == 10
    chosen = result["tuning"]["chosen"]
    assert f"tuning chose term_weight {chosen['term_weight']:g}, learning_rate 0.01, of 2 candidates" in ended.stderr
    again = command("run", config, "--json", *_TUNING)
    assert json.loads(again.stdout) == json.loads(ended.stdout), "a finished run is not tuned again"


def test_folds_without_samples_are_an_error_before_the_purchase(
    command: Command, config: Path, teacher: FakeTeacher
) -> None:
    ended = command("run", config, *_TUNING, "--set=tuning.folds=11")
    assert ended.status == 2
    assert "tuning.folds: expected a sample in each fold" in ended.stderr
    assert teacher.sent == []
