"""Self-training from drawn outputs of the bought samples to the student, through breaks and real kills."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.errors import ConfigError, RunError, TrainingDiverged
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training import stage
from distill_worker.runs.self_training.stage import notes
from distill_worker.runs.train_student import train_student
from distill_worker.training.loop import Progress
from distill_worker.training.training_set import Unbought

N, ROUNDS, MEMBERS, MEMBER_STEPS, STEPS = 24, 2, 2, 6, 8
BEFORE_STUDENT = ROUNDS * MEMBERS * MEMBER_STEPS
PLACES = {
    "the first member": 3,
    "the second member": MEMBER_STEPS + 5,
    "the last step of a member": 2 * MEMBER_STEPS,
    "the second round": 3 * MEMBER_STEPS - 1,
    "the student": BEFORE_STUDENT + 5,
}
"""Where a run ends too early, by the number of steps that were taken."""
_KILLED_RUN = """
import os, signal, sys
from tests.distill_worker.runs.self_training.test_stage import run
end = lambda step, loss: step == int(sys.argv[2]) and os.kill(os.getpid(), signal.SIGKILL)
run(sys.argv[1], end)
"""


def config_in(folder: Path, **sections: Any) -> RunConfig:
    """The tests' run, with other settings in some sections."""
    document: dict[str, Any] = {
        "data": {"name": "digits"},
        "track": "unlabelled-pool",
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "plus": [{"name": "ckd", "pairing": "anchors", "others": 32}],
        "budget": {"n": N},
        "training": {"steps": STEPS, "batch_size": 8, "checkpoint_every": 2, "device": "cpu"},
        "self_training": {"rounds": ROUNDS, "members": MEMBERS, "member_steps": MEMBER_STEPS},
        "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
    }
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section} if isinstance(section, Mapping) else section
    return parse_config(document, source="test")


def run(
    folder: str | Path,
    progress: Progress = lambda _step, _loss: None,
    change: Callable[[Samples], Samples] = lambda samples: samples,
    **sections: Any,
) -> dict[str, Any]:
    """Train the test's student on outputs that are drawn, not bought."""
    config = config_in(Path(folder), **sections)
    samples = change(Samples.of(config))
    outputs = 5 * torch.randn(len(samples.images), 10, generator=torch.Generator().manual_seed(0))
    return train_student(config, samples, {"logits": outputs} if config.needs_teacher else {}, "t", progress=progress)


def _pools(folder: Path) -> list[torch.Tensor]:
    files = sorted((folder / "run" / "self-training").glob("*/pool.safetensors"))
    return [load_file(file)["log_probabilities"] for file in files]


def _left_in(folder: Path) -> list[bytes]:
    """The student, the outputs of all rounds, and the metrics of every training."""
    directory = folder / "run"
    files = [directory / "student.safetensors", *sorted(directory.rglob("pool.safetensors"))]
    return [file.read_bytes() for file in [*files, *sorted(directory.rglob("metrics.jsonl"))]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    run(folder)
    return folder


class BrokenOffError(Exception):
    """A training ends in the middle."""


def broken_off_at(last: int) -> Progress:
    def progress(step: int, _loss: float) -> None:
        if step == last:
            raise BrokenOffError

    return progress


@pytest.mark.parametrize("place", PLACES)
def test_run_that_breaks_off_in_any_stage_ends_with_the_same_bits(place: str, finished: Path, tmp_path: Path) -> None:
    """It goes on from the last checkpoint of the network in training, and trains no finished one again."""
    with pytest.raises(BrokenOffError):
        run(tmp_path, broken_off_at(PLACES[place]))
    steps = list[int]()
    run(tmp_path, lambda step, _: steps.append(step))
    assert _left_in(tmp_path) == _left_in(finished)
    repeated = (PLACES[place] - 1) % MEMBER_STEPS % 2 if PLACES[place] < BEFORE_STUDENT else 0
    assert steps[0] == PLACES[place] - repeated
    assert steps[-1] == BEFORE_STUDENT + STEPS


def test_members_write_nothing_for_tensorboard(finished: Path) -> None:
    """They are run directories, too, but no runs of the user."""
    directory = finished / "run"
    assert {file.parent for file in directory.rglob("*tfevents*")} == {directory / "tensorboard"}


def test_killed_run_ends_with_the_same_bits(finished: Path, tmp_path: Path) -> None:
    """One place stands for all, because a process takes seconds to start: tests/end_to_end has others."""
    command = [sys.executable, "-c", _KILLED_RUN, str(tmp_path), str(PLACES["the second round"])]
    killed = subprocess.run(command, check=False, cwd=Path(__file__).parents[4])
    assert killed.returncode == -signal.SIGKILL
    run(tmp_path)
    assert _left_in(tmp_path) == _left_in(finished)


def test_every_step_of_every_training_is_reported_once(tmp_path: Path) -> None:
    """To one progress bar."""
    steps = list[int]()
    run(tmp_path, lambda step, _: steps.append(step))
    assert steps == list(range(1, BEFORE_STUDENT + STEPS + 1))


def test_outputs_are_distributions_of_all_unbought_samples(finished: Path) -> None:
    samples = Samples.of(config_in(finished))
    first, second = _pools(finished)
    unbought = set(samples.candidates) - set(samples.chosen)
    assert len(samples.unbought) == len(unbought) == len(first) == len(second)
    assert set(samples.unbought) == unbought
    for outputs in (first, second):
        assert torch.allclose(outputs.exp().sum(dim=1), torch.ones(len(outputs)), atol=1e-5)
    assert not torch.equal(first, second)


def test_members_differ_in_their_seeds_alone(finished: Path) -> None:
    """And in what they learned from: the later ones from the outputs of the ensemble before."""
    stored = [json.loads(file.read_text()) for file in sorted((finished / "run").glob("self-training/*/*/run.json"))]
    identities = [run["identity"] for run in stored]
    assert len(identities) == ROUNDS * MEMBERS
    assert len({identity["training"]["seed"] for identity in identities}) == ROUNDS * MEMBERS
    assert [identity["learned_from"] is None for identity in identities] == [True, True, False, False]
    assert {identity["training"]["steps"] for identity in identities} == {MEMBER_STEPS}


def test_last_members_see_distorted_images_and_the_first_do_not(finished: Path, tmp_path: Path) -> None:
    result = run(tmp_path, self_training={"rounds": 1, "distorted_members": 1})
    assert result["self_training"]["distorted_members"] == 1
    first, last = (_losses(folder / "run/self-training/round-1/member-1") for folder in (finished, tmp_path))
    assert first == last
    first, last = (_losses(folder / "run/self-training/round-1/member-2") for folder in (finished, tmp_path))
    assert first != last
    member = json.loads((tmp_path / "run/self-training/round-1/member-2/run.json").read_text())
    assert member["identity"]["augmentation"]["policy"] == "half-strong"


def test_more_distorted_members_than_members_are_an_error(tmp_path: Path) -> None:
    message = r"self_training: expected at most 2 distorted_members, of so many members, got 3"
    with pytest.raises(ConfigError, match=message):
        config_in(tmp_path, self_training={"distorted_members": 3})


def _losses(run_directory: Path) -> list[float]:
    lines = (run_directory / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_weights_of_members_are_deleted_when_their_outputs_are_stored(finished: Path) -> None:
    left = (finished / "run" / "self-training").rglob("*.safetensors")
    assert [file.name for file in left] == ["pool.safetensors"] * ROUNDS


def test_result_says_how_the_pool_was_labelled(finished: Path) -> None:
    result = json.loads((finished / "run" / "result.json").read_text())
    assert result["self_training"] == {
        "rounds": ROUNDS,
        "members": MEMBERS,
        "distorted_members": 0,
        "network": "resnet8",
        "member_steps": MEMBER_STEPS,
        "unbought": len(Samples.of(config_in(finished)).unbought),
        "unsure_share": 1.0,
        "sharpening": 1.0,
    }
    assert (result["steps"], result["calls"]) == (STEPS, N)


@pytest.fixture
def learned_from(monkeypatch: pytest.MonkeyPatch) -> list[Unbought]:
    """What the students of the test learn from."""
    seen = list[Unbought]()

    def kept(*arguments: Any) -> Unbought:
        seen.append(Unbought(*arguments))
        return seen[-1]

    monkeypatch.setattr(stage, "Unbought", kept)
    return seen


def test_student_learns_from_sharpened_outputs_and_the_file_has_those_of_the_ensemble(
    finished: Path, tmp_path: Path, learned_from: list[Unbought]
) -> None:
    result = run(tmp_path, self_training={"rounds": 1, "sharpening": 3.0})
    outputs = _pools(tmp_path)[0]
    torch.testing.assert_close(outputs, _pools(finished)[0], rtol=0, atol=0)
    expected = outputs.exp() ** 3 / (outputs.exp() ** 3).sum(1, keepdim=True)
    torch.testing.assert_close(learned_from[0].log_probabilities.exp(), expected)
    assert result["self_training"]["sharpening"] == 3


def test_student_learns_from_the_images_of_which_the_ensemble_is_least_sure(
    tmp_path: Path, learned_from: list[Unbought]
) -> None:
    """Each of a quarter of them, and of no other: their two likeliest classes are nearest."""
    result = run(tmp_path, self_training={"rounds": 1, "unsure_share": 0.25})
    [pool], [unbought] = _pools(tmp_path), learned_from
    margins = [first - second for first, second, *_ in pool.exp().sort(dim=1, descending=True).values.tolist()]
    nearest = sorted(sorted(range(len(margins)), key=margins.__getitem__)[: ceil(len(margins) / 4)])
    assert torch.equal(unbought.log_probabilities, pool[nearest])
    every = Samples.of(config_in(tmp_path)).unbought
    assert unbought.positions.tolist() == [every[row] for row in nearest]
    assert result["self_training"]["unsure_share"] == 0.25


@pytest.mark.parametrize(("classes", "factor"), [(2, 1), (10, 1), (100, 2), (1000, 3)])
def test_more_than_ten_classes_sharpen_by_their_logarithm(classes: int, factor: float) -> None:
    assert SelfTraining(sharpening="by-classes").sharpening_on(classes) == pytest.approx(factor)
    assert SelfTraining().sharpening_on(classes) == 1


def test_labels_of_unbought_samples_are_not_used(finished: Path, tmp_path: Path) -> None:
    def relabelled(samples: Samples) -> Samples:
        labels = samples.dataset.train.needed_labels.clone()
        labels[samples.unbought] = 0
        train = replace(samples.dataset.train, labels=labels)
        return replace(samples, labels=labels, dataset=replace(samples.dataset, train=train))

    run(tmp_path, change=relabelled)
    assert _left_in(tmp_path) == _left_in(finished)


def test_finished_run_is_reported_without_training(finished: Path) -> None:
    stored = json.loads((finished / "run" / "result.json").read_text())
    assert run(finished, lambda step, _: pytest.fail(f"step {step}")) == stored


@pytest.mark.parametrize(
    ("sections", "difference"),
    [
        ({"self_training": {"bought_share": 0.5}}, "self_training.bought_share: 0.25 in the directory, 0.5 now"),
        (
            {"self_training": {"policy": "crop-flip"}},
            "self_training.policy: 'half-strong' in the directory, 'crop-flip' now",
        ),
        ({"training": {"seed": 1}}, "training.seed: 0 in the directory, 1 now"),
    ],
)
def test_directory_of_a_run_with_members_belongs_to_it(
    sections: dict[str, Any], difference: str, tmp_path: Path
) -> None:
    """Its first member saved a checkpoint, the run itself none yet."""
    with pytest.raises(BrokenOffError):
        run(tmp_path, broken_off_at(PLACES["the first member"]))
    with pytest.raises(RunError, match=f"another run .{difference}"):
        run(tmp_path, **sections)


def test_directory_in_which_no_member_got_far_is_taken_over(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError):
        run(tmp_path, broken_off_at(1), training={"seed": 1})
    run(tmp_path)
    assert _left_in(tmp_path) == _left_in(finished)


def test_fresh_moves_members_and_outputs_aside(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError):
        run(tmp_path, broken_off_at(PLACES["the second round"]))
    config = config_in(tmp_path)
    samples = Samples.of(config)
    outputs = 5 * torch.randn(N, 10, generator=torch.Generator().manual_seed(0))
    notes = list[str]()
    train_student(config, samples, {"logits": outputs}, "t", fresh=True, note=notes.append)
    assert (tmp_path / "run" / "before-1" / "self-training" / "round-1" / "pool.safetensors").exists()
    assert [note for note in notes if note.endswith("before-1")] == notes[:1]
    assert (tmp_path / "run" / "student.safetensors").read_bytes() == _left_in(finished)[0]


def test_damaged_outputs_are_an_error_that_says_what_to_delete(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError):
        run(tmp_path, broken_off_at(PLACES["the second round"]))
    round_folder = tmp_path / "run" / "self-training" / "round-1"
    (round_folder / "pool.safetensors").write_bytes(b"half")
    with pytest.raises(RunError, match=rf"pool\.safetensors: cannot be read .* delete {round_folder}, then"):
        run(tmp_path)
    (round_folder / "pool.safetensors").unlink()
    run(tmp_path)
    assert _left_in(tmp_path) == _left_in(finished), "its members are trained again"


def test_outputs_of_another_run_are_an_error(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError):
        run(tmp_path, broken_off_at(PLACES["the second round"]), training={"seed": 1})
    ours, theirs = (
        folder / "run" / "self-training" / "round-1" / "pool.safetensors" for folder in (tmp_path, finished)
    )
    ours.write_bytes(theirs.read_bytes())
    with pytest.raises(RunError, match=r"another run's \(training\.seed: 0 in the directory, 1 now\)"):
        run(tmp_path, training={"seed": 1})


def test_note_does_not_name_steps_that_are_still_to_be_chosen(tmp_path: Path) -> None:
    for member_steps, expected in ((None, "as many steps as [tuning] chooses each"), (6, "6 steps each")):
        config = config_in(tmp_path, self_training={"member_steps": member_steps}, tuning={"steps": [8, 16]})
        [note] = notes(config, Samples.of(config))
        assert f"2 rounds of 2 members (resnet8, {expected}) give outputs" in note


def test_outputs_that_cannot_be_written_leave_the_members(finished: Path, tmp_path: Path) -> None:
    """A folder in the way of the file stands for a full disk. Without it, no member is trained again."""
    in_the_way = tmp_path / "run" / "self-training" / "round-1" / ".pool.safetensors.part"
    in_the_way.mkdir(parents=True)
    with pytest.raises(RunError, match=r"pool\.safetensors: cannot be written .* goes on with the trained members"):
        run(tmp_path)
    in_the_way.rmdir()
    steps = list[int]()
    run(tmp_path, lambda step, _: steps.append(step))
    assert steps[0] == MEMBERS * MEMBER_STEPS + 1
    assert _left_in(tmp_path) == _left_in(finished)


def test_members_may_have_another_network(tmp_path: Path) -> None:
    result = run(tmp_path, self_training={"rounds": 1, "network": "resnet14"})
    assert (result["network"], result["self_training"]["network"]) == ("resnet8", "resnet14")


def test_cross_entropy_trains_itself_without_a_teacher(tmp_path: Path) -> None:
    result = run(tmp_path, method={"name": "ce"}, plus=[], self_training={"rounds": 1})
    assert (result["calls"], result["self_training"]["rounds"]) == (0, 1)


def test_member_that_diverges_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"^self_training: round-1/member-1: step \d+: expected a finite loss"):
        run(tmp_path, training={"learning_rate": 1e30})
