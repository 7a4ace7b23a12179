"""An ensemble's outputs, beside a loop over its networks and images."""

import pytest
import torch
from torch import nn

from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.errors import ConfigError, TrainingDiverged
from distill_worker.runs.self_training.ensemble import least_sure, mean_log_probabilities
from shared.normalise import normalise

CLASSES = 5
VIEW = Preprocessing(mean=(0.5,), std=(0.25,), crop_padding=2, horizontal_flip=True)
FLOAT32 = Training(precision="float32", memory_format="contiguous")


def _networks(count: int) -> list[nn.Module]:
    """Small networks whose dropout and batch normalisation would differ in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, CLASSES))
            for _ in range(count)
        ]


def _images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_outputs_are_the_geometric_mean_of_the_members_distributions() -> None:
    """In float64, image by image: the product of the probabilities to the power of 1/3, divided by its sum."""
    networks, images, positions = _networks(3), _images(12), torch.tensor([7, 0, 11])
    outputs = mean_log_probabilities(networks, images, positions, VIEW, FLOAT32)
    for row, position in zip(outputs, positions.tolist(), strict=True):
        product = torch.ones(CLASSES, dtype=torch.float64)
        for network in networks:
            logits = network.double().eval()(normalise(images[position][None], VIEW.mean, VIEW.std).double())[0]
            product *= logits.softmax(dim=0)
        expected = product ** (1 / 3)
        assert torch.allclose(row.double().exp(), expected / expected.sum(), atol=1e-6)


@pytest.mark.parametrize(("share", "rows"), [(1.0, [0, 1, 2, 3]), (0.75, [0, 2, 3]), (0.5, [2, 3]), (0.01, [3])])
def test_least_sure_rows_are_those_of_the_smallest_margin(share: float, rows: list[int]) -> None:
    probabilities = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.5, 0.1, 0.4], [0.34, 0.33, 0.33]])
    assert least_sure(probabilities.log(), share).tolist() == rows


def test_one_member_gives_its_own_distribution() -> None:
    [network] = _networks(1)
    images = _images(4)
    outputs = mean_log_probabilities([network], images, torch.arange(4), VIEW, FLOAT32)
    logits = network(normalise(images, VIEW.mean, VIEW.std))
    assert torch.allclose(outputs, logits.log_softmax(dim=1), atol=1e-6)


def test_outputs_do_not_depend_on_the_size_of_a_pass() -> None:
    """More images than one pass takes."""
    networks, images = _networks(2), _images(600)
    outputs = mean_log_probabilities(networks, images, torch.arange(600), VIEW, FLOAT32)
    last = mean_log_probabilities(networks, images, torch.arange(550, 600), VIEW, FLOAT32)
    assert torch.allclose(outputs[550:], last, atol=1e-6)


def test_outputs_in_bfloat16_are_close_to_those_in_float32() -> None:
    networks, images, positions = _networks(3), _images(50), torch.arange(50)
    half = Training(precision="bfloat16", memory_format="channels_last")
    outputs = [mean_log_probabilities(networks, images, positions, VIEW, training) for training in (FLOAT32, half)]
    assert outputs[1].dtype == torch.float32
    assert (outputs[0].exp() - outputs[1].exp()).abs().max() < 0.02


def _fail(_module: nn.Module, _inputs: object) -> None:
    raise ArithmeticError("mine")


def test_network_that_fails_is_one_sentence() -> None:
    [network] = _networks(1)
    network.register_forward_pre_hook(_fail)
    with pytest.raises(
        ConfigError, match="expected a member of the ensemble to label images, got ArithmeticError: mine"
    ):
        mean_log_probabilities([network], _images(4), torch.arange(4), VIEW, FLOAT32)


def test_member_whose_last_step_diverged_is_an_error_and_labels_nothing() -> None:
    networks = _networks(2)
    with torch.no_grad():
        next(networks[1].parameters()).fill_(torch.nan)
    with pytest.raises(TrainingDiverged, match=r"^self_training: expected finite outputs .* training\.learning_rate"):
        mean_log_probabilities(networks, _images(4), torch.arange(4), VIEW, FLOAT32)
