"""A teacher that was made worse has the accuracy of what it sells."""

import json
from pathlib import Path

import pytest
import torch

from distill_worker.data.datasets.dataset import Split
from distill_worker.experiments.own_teacher.local_teacher import TrainedTeacher, degraded
from shared.degradation import Degradation
from teacher_service.models import TorchTeacher
from tests.small_teacher import small_teacher

BEFORE = 0.9


@pytest.fixture
def teacher(tmp_path: Path) -> TrainedTeacher:
    """A network with some weights, as if it had been trained."""
    weights = small_teacher(tmp_path / "trained.safetensors", 3)
    return TrainedTeacher("resnet8", BEFORE, weights)


@pytest.fixture
def labelled(teacher: TrainedTeacher) -> Split:
    """Images with the labels that the teacher gave before it was made worse."""
    images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8)
    answers = TorchTeacher(teacher.weights, "cpu").predict(images.numpy())
    return Split(images, torch.from_numpy(answers).argmax(dim=1))


@pytest.mark.parametrize(
    ("prune", "degradation"),
    [(0.0, Degradation(noise=5.0)), (0.0, Degradation(noise=1.0, decimals=0)), (0.9, Degradation())],
    ids=["noise", "noise and rounding", "pruned"],
)
def test_accuracy_is_that_of_the_answers_of_the_service(
    prune: float, degradation: Degradation, teacher: TrainedTeacher, labelled: Split, tmp_path: Path
) -> None:
    """And the accuracy before is named as such."""
    worse = degraded(
        teacher,
        tmp_path / "variant",
        prune=prune,
        degradation=degradation,
        test=labelled,
        device=torch.device("cpu"),
    )
    answers = torch.from_numpy(TorchTeacher(worse.weights, "cpu").predict(labelled.images.numpy()))
    expected = float((answers.argmax(dim=1) == labelled.needed_labels).double().mean())
    assert worse.accuracy == pytest.approx(expected)
    facts = worse.facts()
    assert (facts["accuracy"], facts["accuracy_before_degradation"]) == (worse.accuracy, BEFORE)
    assert "accuracy_before_degradation" not in teacher.facts()


def test_accuracy_is_evaluated_once_for_the_same_weights(
    teacher: TrainedTeacher, labelled: Split, tmp_path: Path
) -> None:
    """It is in a file beside them. A file that is damaged, or of other weights, counts for nothing."""

    def accuracy(test: Split) -> float:
        worse = Degradation(noise=5.0)
        device = torch.device("cpu")
        return degraded(teacher, tmp_path, prune=0.0, degradation=worse, test=test, device=device).accuracy

    first = accuracy(labelled)
    nothing = Split(labelled.images[:0], torch.empty(0, dtype=torch.int64))
    assert accuracy(nothing) == first
    file = tmp_path / "degraded.json"
    for content in ("{", json.dumps({"weights": "others", "accuracy": 0.5})):
        file.write_text(content)
        assert accuracy(labelled) == first
