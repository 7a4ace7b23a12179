"""A run that names no method, from the command line: what it chose is said, and is the run that states the same."""

import json
from pathlib import Path

import pytest

from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher

_STATED = (
    '--set=track="unlabelled-pool"',
    "--set=method={name='kd', weight=0.45, by_classes=true}",
    "--set=plus=[{name='ckd', beta=0.45, by_classes=true}]",
    "--set=self_training={start='member', policy='crop-flip', distorted_members=2, sharpening='by-classes', "
    "unsure_share=0.3}",
    "--set=training.weight_decay=0.002",
    '--set=budget.strategy="coarse-to-fine"',
    '--set=budget.features="gradients"',
)


@pytest.fixture
def open_config(config: Path) -> Path:
    """The small run, without its method."""
    lines = config.read_text(encoding="utf-8").splitlines()
    config.write_text("\n".join(line for line in lines if not line.startswith("method")), encoding="utf-8")
    return config


def test_run_says_what_it_chose_and_why_and_pays_for_its_samples_alone(
    command: Command, open_config: Path, teacher: FakeTeacher
) -> None:
    ended = command("run", open_config, "--json")
    result = facts_of(ended)
    assert teacher.paid == 10
    selection = {"budget.strategy", "budget.features"}
    assert set(result["auto"]) == {"method", "track", "self_training", "training.weight_decay", *selection}
    assert result["self_training"]["members"] == 4
    for reason in (
        "auto: kd of weight 0.45 + ckd of weight 0.45, for 10 classes and 1 calls a class",
        "auto: the track unlabelled-pool, because 1,287 images are not bought",
        "auto: the strategy coarse-to-fine, because few samples go further if each shows other images",
    ):
        assert reason in ended.stderr


def test_run_that_states_what_was_chosen_is_the_same_run(
    command: Command, open_config: Path, teacher: FakeTeacher
) -> None:
    """Its directory is taken as its own: nothing is trained or bought again."""
    chosen = facts_of(command("run", open_config, "--json"))
    assert facts_of(command("run", open_config, "--json", *_STATED)) == chosen
    assert teacher.paid == 10


def test_run_buys_in_two_rounds_and_never_more_than_n(
    command: Command, open_config: Path, teacher: FakeTeacher
) -> None:
    """A member alone trains on the first half; the ensemble and the student train on all samples."""
    ended = command("run", open_config, "--set=budget.n=20", "--json")
    result = facts_of(ended)
    assert (teacher.paid, result["n"], result["self_training"]["members"]) == (20, 20, 4)
    assert f"self-training: the policy {result['self_training']['policy']}: on the bought outputs" in ended.stderr
    rounds = [file.relative_to(result["directory"]) for file in Path(result["directory"]).glob("rounds/0*")]
    assert sorted(map(str, rounds)) == ["rounds/0001", "rounds/0001.json", "rounds/0002.json"]
    selecting = json.loads((Path(result["directory"]) / "rounds/0001/result.json").read_text(encoding="utf-8"))
    assert (selecting["n"], selecting["track"]) == (10, "queried")
    assert "self_training" not in selecting
    assert "auto" not in selecting
    lines = [line for line in ended.stderr.splitlines() if line.startswith(("auto: ", "round "))]
    assert [line.split()[0] for line in lines] == ["auto:"] * 8 + ["round"] * 2, (
        "it is said once, before the first call"
    )
    for reason in (
        "auto: the track unlabelled-pool, because 1,277 images are not bought",
        "auto: kd of weight 0.45 + ckd of weight 0.45, for 10 classes and 2 calls a class",
        "auto: the strategy k-center-softmax, because a student knows which images differ from those bought",
        "auto: the strategy coarse-to-fine at first, because few samples go further if each shows other images",
        "auto: 2 rounds; to buy all samples at once, set budget.rounds = 1",
    ):
        assert reason in lines


@pytest.mark.parametrize("what", [("train",), ("train", "--held"), ("forecast",)])
def test_command_that_needs_one_round_says_how_auto_selects_in_one(
    what: tuple[str, ...], command: Command, open_config: Path, teacher: FakeTeacher
) -> None:
    in_rounds, in_one = "--set=budget.n=20", ("--set=budget.n=20", "--set=budget.rounds=1")
    fetched = command("fetch", open_config, in_rounds)
    assert fetched.stderr.endswith(
        "next: distill-worker run trains a student, which selects the other 10, and buys them\n"
    )
    assert teacher.paid == 10, "the second half is selected by a student, which fetch does not train"
    ended = command(what[0], open_config, *what[1:], in_rounds)
    assert (ended.status, teacher.paid) == (2, 10)
    assert ended.stderr.rstrip().endswith("; `auto` selects in one round with budget.rounds = 1")
    command("fetch", open_config, *in_one)
    assert teacher.paid == 20, "the first half was nested in these"
    assert command("train", open_config, *in_one).status == 0


def test_method_of_the_list_and_auto_are_named_in_the_list(command: Command) -> None:
    assert "names no method, or `auto`" in command("methods").stdout
