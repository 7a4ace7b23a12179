"""The state of the batches, between a checkpoint and the device that goes on from it."""

import pytest
import torch

from distill_worker.data.preprocessing import Preprocessing
from distill_worker.errors import RunError
from distill_worker.methods.terms.base import probabilities_of
from distill_worker.training.batches import Batches
from distill_worker.training.training_set import TrainingSet


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
