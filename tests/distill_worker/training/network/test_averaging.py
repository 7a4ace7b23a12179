"""Averaged weights against the sums by which they are defined, and statistics against those of all images at once."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.methods.terms.base import probabilities_of
from distill_worker.training.network.averaging import Averaging
from distill_worker.training.network.statistics_anew import compute_statistics
from distill_worker.training.ranks.group import ALONE
from distill_worker.training.training_set import Pool, TrainingSet, Unbought

STEPS = 20


def _data(samples: int = 7) -> TrainingSet:
    labels = torch.arange(samples) % 2
    images = torch.randint(0, 256, (samples, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    preprocessing = Preprocessing((0.4,), (0.2,), crop_padding=1, horizontal_flip=True)
    return TrainingSet(images, probabilities_of(labels, 2), labels, preprocessing)


def _network() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(9, 2))


def _averaging(network: nn.Module, **settings: object) -> Averaging:
    training = Training.model_validate({"steps": STEPS, **settings})
    return Averaging(network, _data(), training, STEPS, ALONE)


def _take_step(network: nn.Module, step: int) -> None:
    """Other weights and statistics, as a step of training leaves them."""
    generator = torch.Generator().manual_seed(step)
    for values in network.state_dict().values():
        if values.is_floating_point():
            values.copy_(torch.randn(values.shape, generator=generator))
        else:
            values.add_(1)


def _after(step: int, name: str) -> Tensor:
    other = _network()
    _take_step(other, step)
    values: Tensor = other.state_dict()[name]
    return values


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_exponential_average_is_the_recursion_with_a_decay_that_rises(decay: float) -> None:
    network = _network()
    expected = {name: values.clone() for name, values in network.state_dict().items()}
    averaging = _averaging(network, averaging="ema", averaging_decay=decay)
    for step in range(1, STEPS + 1):
        _take_step(network, step)
        averaging.update(step)
        kept = min(decay, (1 + step) / (10 + step))
        for name, values in network.state_dict().items():
            if values.is_floating_point():
                expected[name] = kept * expected[name] + (1 - kept) * values
    averaging.use()
    state = network.state_dict()
    expected["0.num_batches_tracked"] = torch.tensor(STEPS)
    assert_close(state, expected)


def test_average_of_the_last_steps_is_their_mean() -> None:
    """From the sixteenth of twenty steps on, at a start of 0.75."""
    network = _network()
    averaging = _averaging(network, averaging="swa")
    for step in range(1, STEPS + 1):
        _take_step(network, step)
        averaging.update(step)
    averaging.use()
    for name in ("0.weight", "2.weight", "2.bias"):
        mean = torch.stack([_after(step, name) for step in range(16, 21)]).mean(dim=0)
        assert_close(network.state_dict()[name], mean)
    pixels = _data().preprocessing.normalised(_data().images)
    assert_close(network.state_dict()["0.running_mean"], pixels.mean().reshape(1))
    assert_close(network.state_dict()["0.running_var"], pixels.var().reshape(1))


def test_weights_before_the_start_are_the_last_ones() -> None:
    network = _network()
    averaging = _averaging(network, averaging="swa", averaging_start=0.5)
    _take_step(network, 1)
    averaging.update(1)
    averaging.use()
    assert_close(network.state_dict()["2.bias"], _after(1, "2.bias"))


@pytest.mark.parametrize("averaging", ["none", "ema", "swa"])
def test_average_is_used_in_the_block_alone(averaging: str) -> None:
    network = _network()
    average = _averaging(network, averaging=averaging, averaging_start=0.0)
    for step in (1, 2):
        _take_step(network, step)
        average.update(step)
    own = {name: values.clone() for name, values in network.state_dict().items()}
    with average.used():
        assert torch.equal(network.state_dict()["2.bias"], own["2.bias"]) == (averaging == "none")
    assert all(torch.equal(values, own[name]) for name, values in network.state_dict().items())


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_state_restores_the_average(averaging: str) -> None:
    networks = [_network(), _network()]
    first, second = (_averaging(network, averaging=averaging, averaging_start=0.0) for network in networks)
    for step in (1, 2):
        _take_step(networks[0], step)
        first.update(step)
    networks[1].load_state_dict(networks[0].state_dict())
    second.restore(first.state())
    for network, average in zip(networks, (first, second), strict=True):
        _take_step(network, 3)
        average.update(3)
        average.use()
    assert_close(networks[1].state_dict(), networks[0].state_dict(), rtol=0, atol=0)


def test_statistics_are_those_of_all_training_images() -> None:
    """Bought and others; as they are at test, each once. A frozen layer keeps its own."""
    data = _data(7)
    others = torch.randint(0, 256, (9, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    positions = torch.tensor([8, 1, 3])
    for more, extra in (
        ({"pool": Pool(others, None)}, others),
        ({"unbought": Unbought(others, positions, torch.zeros(3, 2), 0.5, "strong")}, others[positions]),
    ):
        network = _network()
        network.append(nn.BatchNorm1d(2).requires_grad_(requires_grad=False).eval())
        compute_statistics(network, replace(data, **more), ALONE)
        pixels = data.preprocessing.normalised(torch.cat([data.images, extra]))
        assert_close(network.state_dict()["0.running_mean"], pixels.mean().reshape(1))
        assert_close(network.state_dict()["0.running_var"], pixels.var().reshape(1))
        assert_close(network.state_dict()["3.running_mean"], torch.zeros(2))
        assert network.get_submodule("0").momentum == 0.1


def test_statistics_of_many_images_are_means_over_their_batches() -> None:
    """1,001 images are three batches of 333 or 334."""
    data, network = _data(1001), _network()
    compute_statistics(network, data, ALONE)
    pixels = data.preprocessing.normalised(data.images)
    parts = [pixels[:333], pixels[333:667], pixels[667:]]
    assert_close(network.state_dict()["0.running_mean"], torch.stack([part.mean() for part in parts]).mean()[None])
    assert_close(network.state_dict()["0.running_var"], torch.stack([part.var() for part in parts]).mean()[None])
