"""The state of the batches, between a checkpoint and the device that goes on from it; and the views that they hold."""

from typing import cast

import pytest
import torch

from distill_worker.data.preprocessing import Preprocessing
from distill_worker.errors import RunError
from distill_worker.methods.base import LOGITS
from distill_worker.methods.pool import PseudoLabel
from distill_worker.methods.single_sample import CE
from distill_worker.methods.terms import Objective, Setting
from distill_worker.methods.terms.base import probabilities_of
from distill_worker.training.batches import Batches
from distill_worker.training.precision import StudentPass
from distill_worker.training.training_set import Pool, TrainingSet, Unbought


def _batches() -> Batches:
    labels = torch.arange(6) % 2
    preprocessing = Preprocessing(mean=(0.5,), std=(0.5,), crop_padding=0, horizontal_flip=False)
    images = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
    return Batches(TrainingSet(images, probabilities_of(labels, 2), labels, preprocessing), batch_size=2, seed=0)


def test_state_restores_the_draws_that_follow() -> None:
    batches, again = _batches(), _batches()
    torch.rand(3, generator=batches.generator)
    again.restore(batches.state())
    assert torch.equal(torch.rand(5, generator=again.generator), torch.rand(5, generator=batches.generator))


def test_state_of_another_kind_of_device_is_an_error_that_names_the_setting() -> None:
    """A generator of CUDA has 16 bytes of state, one of the CPU some 5,000."""
    state = _batches().state() | {"generator": torch.zeros(16, dtype=torch.uint8)}
    with pytest.raises(RunError, match=r"^training\.device: expected .* got cpu.* --fresh"):
        _batches().restore(state)


@pytest.mark.parametrize(
    ("method", "policy", "distorted"),
    [
        (PseudoLabel(), "crop-flip", [False, False]),
        (PseudoLabel(), "strong", [True, True]),
        (PseudoLabel(strong_view=True), "crop-flip", [True, False]),
        (PseudoLabel(strong_view=True), "strong", [True, False]),
    ],
)
def test_view_that_learns_is_distorted_and_the_one_that_labels_is_not(
    method: PseudoLabel, policy: str, distorted: list[bool]
) -> None:
    """Without crops and flips, an image that is not distorted is as it was."""
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    labels = torch.arange(4) % 2
    preprocessing = Preprocessing((0.5,), (0.5,), crop_padding=0, horizontal_flip=False, policy=policy)
    data = TrainingSet(
        image.repeat(4, 1, 1, 1),
        probabilities_of(labels, 2),
        labels,
        preprocessing,
        pool=Pool(image.repeat(3, 1, 1, 1), None),
    )
    seen = list[torch.Tensor]()

    def student(images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        seen.append(images)
        return torch.zeros(len(images), 2), {}

    objective = Objective([CE(), method], Setting(2, 4, {LOGITS: (2,)}, {}))
    Batches(data, batch_size=4, seed=0).next(cast("StudentPass", student), objective, 1)
    original = preprocessing.normalised(image)
    [images] = seen
    queried, learns, labels_it = ((view != original).any() for view in (images[:4], images[4:7], images[7:]))
    assert bool(queried) == (policy == "strong")
    assert [bool(learns), bool(labels_it)] == distorted


@pytest.mark.parametrize(("policy", "distorted"), [("crop-flip", False), ("strong", True)])
def test_unbought_image_is_augmented_by_its_own_policy_and_a_bought_one_is_not(policy: str, distorted: bool) -> None:
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    labels = torch.arange(4) % 2
    preprocessing = Preprocessing((0.5,), (0.5,), crop_padding=0, horizontal_flip=False)
    images = image.repeat(4, 1, 1, 1)
    outputs = torch.zeros(4, 2).log_softmax(dim=1)
    unbought = Unbought(images, torch.arange(4), outputs, bought_share=0.5, policy=policy)
    data = TrainingSet(images, probabilities_of(labels, 2), labels, preprocessing, unbought=unbought)
    seen = list[torch.Tensor]()

    def student(images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        seen.append(images)
        return torch.zeros(len(images), 2), {}

    objective = Objective([CE()], Setting(2, 4, {LOGITS: (2,)}, {}))
    Batches(data, batch_size=4, seed=0).next(cast("StudentPass", student), objective, 1)
    original = preprocessing.normalised(image)
    assert [bool((view != original).any()) for view in (seen[0][:2], seen[0][2:])] == [False, distorted]
