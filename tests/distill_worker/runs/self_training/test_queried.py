"""Self-training in the track `queried`: the ensemble sees the views of the bought images that the student sees."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.errors import ConfigError, TrainingDiverged
from distill_worker.methods import Method
from distill_worker.methods.base import LOGITS
from distill_worker.methods.mixup import CutMix, Mixup
from distill_worker.methods.single_sample import KD
from distill_worker.methods.terms import Objective, Setting
from distill_worker.runs.self_training.ensemble import Ensemble
from distill_worker.runs.self_training.members import Member
from distill_worker.training.batches import Batches
from distill_worker.training.precision import StudentPass
from distill_worker.training.training_set import TrainingSet, Views
from shared.networks import build_network
from shared.weights import load_weights
from tests.distill_worker.runs.self_training.test_stage import (
    MEMBER_STEPS,
    MEMBERS,
    STEPS,
    BrokenOffError,
    broken_off_at,
    config_in,
    run,
)

QUERIED: dict[str, Any] = {"track": "queried", "self_training": {"rounds": 1}}
BEFORE_STUDENT = MEMBERS * MEMBER_STEPS
CPU = torch.device("cpu")


def _left_in(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((folder / "run").rglob("*.safetensors"))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run(folder, **QUERIED)
    return folder


@pytest.mark.parametrize("place", [3, MEMBER_STEPS + 5, 2 * MEMBER_STEPS, BEFORE_STUDENT + 5])
def test_run_that_breaks_off_ends_with_the_same_bits(place: int, finished: Path, tmp_path: Path) -> None:
    """In the first member, in the second one, at its end, and in the student."""
    with pytest.raises(BrokenOffError):
        run(tmp_path, broken_off_at(place), **QUERIED)
    steps = list[int]()
    run(tmp_path, lambda step, _: steps.append(step), **QUERIED)
    assert _left_in(tmp_path) == _left_in(finished)
    assert steps[-1] == BEFORE_STUDENT + STEPS


def test_no_image_but_the_bought_ones_is_used(finished: Path, tmp_path: Path) -> None:
    """Other training images do not change a bit, and the result names the track."""
    result = run(tmp_path, change=_with_other_images_black, **QUERIED)
    assert (result["track"], result["self_training"]["unbought"]) == ("queried", 0)
    assert (tmp_path / "run/student.safetensors").read_bytes() == (finished / "run/student.safetensors").read_bytes()


def _with_other_images_black(samples: Any) -> Any:
    images = samples.dataset.train.images
    others = torch.ones(len(images), dtype=torch.bool)
    others[samples.chosen] = False
    images[others] = 0
    return samples


@pytest.mark.parametrize(("method", "stored"), [(KD(), 3), (Mixup(), 0), (CutMix(), 0)])
def test_targets_of_views_are_the_ensembles_for_what_the_student_sees(method: Method, stored: int) -> None:
    """They are recomputed from the images that the student got.

    The other images are not distorted, and have the stored outputs. No mixture has them.
    """
    ensemble = _ensemble(2)
    seen = list[torch.Tensor]()

    def labelled(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs)
        return ensemble(inputs)

    data = TrainingSet(
        torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
        torch.eye(3)[:2].repeat(3, 1),
        None,
        Preprocessing((0.5,), (0.2,), 0, horizontal_flip=False),
        {LOGITS: torch.arange(18.0).reshape(6, 3)},
        views=Views(labelled, 0.5, "strong"),
    )
    setting = Setting(num_classes=3, steps=1, student_shapes={LOGITS: (3,)}, targets=data.targets)
    student = _StudentThatKeepsInputs()
    batch = Batches(data, 6, seed=0).next(student, Objective([method], setting), step=1)
    assert len(seen) == 1
    assert_close(batch.teacher[LOGITS][stored:], ensemble(student.inputs[stored:]))
    assert torch.equal(batch.teacher[LOGITS][:stored], data.targets[LOGITS][batch.samples[:stored]])
    assert not batch.teacher[LOGITS].requires_grad
    plain = data.preprocessing.normalised(data.images).flatten(1)
    nearest = torch.cdist(student.inputs.flatten(1), plain).min(dim=1).values
    assert (nearest < 1e-3).tolist() == [True] * stored + [False] * (6 - stored)


def test_member_whose_last_step_diverged_does_not_teach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss was finite at its last step, after which its weights were not."""

    def diverged(member: Member) -> torch.nn.Module:
        network = load_weights(member.weights)[1]
        next(network.parameters()).data.fill_(torch.nan)
        return network

    monkeypatch.setattr(Member, "network", diverged)
    with pytest.raises(TrainingDiverged, match="self_training: expected finite outputs of the ensemble"):
        run(tmp_path, **QUERIED)


class _StudentThatKeepsInputs(StudentPass):
    def __init__(self) -> None:
        super().__init__(_network(9), (), Training(precision="float32"), CPU)
        self.inputs = torch.empty(0)

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self.inputs = images
        return super().__call__(images)


def _ensemble(members: int) -> Ensemble:
    return Ensemble([_network(seed) for seed in range(members)], Training(precision="float32"), CPU)


def _network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network("resnet8", num_classes=3, in_channels=1)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"self_training": {"rounds": 2}}, "self_training: expected one round in the track 'queried'"),
        ({"self_training": {"assistant": "a.safetensors"}}, "self_training: expected no assistant in the track 'que"),
        (
            {"method": {"name": "ce"}, "plus": []},
            "self_training: expected a method that learns from outputs in the track",
        ),
        ({"track": "labelled-pool"}, "self_training: expected the track 'unlabelled-pool' or 'queried', got 'labelled"),
    ],
)
def test_what_needs_unbought_images_is_an_error(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    stage = QUERIED["self_training"] | sections.pop("self_training", {})
    with pytest.raises(ConfigError, match=message):
        config_in(tmp_path, **{**QUERIED, **sections, "self_training": stage})
