"""`train --held`: a part that was bought on the advice of an error can be trained on, without counting."""

from pathlib import Path

import pytest

from distill_worker.errors import TeacherUnavailable
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher


@pytest.fixture
def part(command: Command, config: Path, teacher: FakeTeacher) -> Path:
    """Six of ten samples, as the error of a quota of six advises."""
    teacher.limit = 6
    rejected = command("fetch", config)
    assert rejected.status != 0
    assert teacher.paid == 0
    assert "buy a part with --max-calls 6 and train on it with train --held" in rejected.stderr
    facts_of(command("fetch", config, "--max-calls", 6, "--json"))
    assert teacher.paid == 6
    return config


def test_advised_part_holds_every_sample_of_that_n(command: Command, part: Path) -> None:
    planned = facts_of(command("plan", part, "--set", "budget.n=6", "--json"))
    assert (planned["wanted"], planned["cached"], planned["to_buy"]) == (6, 6, 0)
    assert facts_of(command("train", part, "--set", "budget.n=6", "--json"))["n"] == 6


def test_held_part_trains_as_the_run_of_that_n(command: Command, part: Path, tmp_path: Path) -> None:
    """The same bits in another directory; in the same directory, the same run, which is finished."""
    ended = command("train", part, "--held", "--json")
    assert "training on 6 of 10 samples, those in the cache\n" in ended.stderr
    held = facts_of(ended)
    assert held["n"] == held["calls"] == 6
    other = facts_of(
        command("train", part, "--set", "budget.n=6", "--set", f"output.directory={tmp_path}/other", "--json")
    )
    assert other["accuracy"] == held["accuracy"]
    for name in ("student.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    again = facts_of(command("train", part, "--set", "budget.n=6", "--json"))
    assert again == held


def test_missing_part_is_told_of_held_samples(command: Command, part: Path) -> None:
    ended = command("train", part)
    assert ended.status != 0
    assert "or train on those that are in the cache" in ended.stderr
    assert "distill-worker train --held" in ended.stderr


def test_open_purchase_is_advised_first(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Four samples are in an open purchase, which was charged: the advice repeats them, and costs nothing."""
    teacher.will(("after", TeacherUnavailable("lost")))
    assert command("fetch", config, "--max-calls", 4).status != 0
    teacher.limit = 6
    assert "buy a part with --max-calls 4" in command("fetch", config).stderr
    assert facts_of(command("fetch", config, "--max-calls", 4, "--json"))["bought"] == 4
    assert teacher.paid == 4
    assert facts_of(command("train", config, "--held", "--json"))["n"] == 4


NO_PARTS = {
    "mixtures": (
        ("method.name=mixup", "method.targets=requeried", "method.mixtures=1"),
        "Lower method.mixtures or n, or get a larger quota;",
    ),
    "a strategy that is not nested": (("budget.strategy=typical",), "Lower n by 4, buy a part with --max-calls 6"),
}


@pytest.mark.parametrize("name", NO_PARTS)
def test_advice_is_true_for_the_run(name: str, command: Command, config: Path, teacher: FakeTeacher) -> None:
    """A part is advised only where `train --held` can train on it, and a number only where it suffices."""
    settings, advice = NO_PARTS[name]
    teacher.limit = 6
    overrides = [part for setting in settings for part in ("--set", setting)]
    rejected = command("fetch", config, *overrides)
    assert advice in rejected.stderr
    assert ("train --held" in rejected.stderr) == (name != "mixtures")


def test_held_samples_are_advised_without_a_call_left(command: Command, part: Path) -> None:
    """Lowering n by 4 selects the same six again; with `typical`, it may not."""
    advice = "Nothing was spent. Lower n by 4, train on the 6 samples in the cache with train --held, or get a larger"
    assert advice in command("fetch", part).stderr
