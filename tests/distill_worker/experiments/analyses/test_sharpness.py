"""Sharpness, against weights that are moved by hand."""

import copy
import random

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from distill_worker.experiments.analyses.sharpness import DIRECTIONS, RADII, filter_normalised, rise, sharpness


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).eval()


_INPUTS = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
_LABELS = torch.tensor([0, 1, 1, 0, 1])


def test_filters_of_a_direction_have_the_norms_of_the_network() -> None:
    """Biases and the parameters of batch normalisation are left out."""
    parameters = dict(_network().named_parameters())
    direction = filter_normalised(parameters, torch.Generator().manual_seed(2))
    assert set(direction) == {"0.weight", "4.weight"}
    for name, values in direction.items():
        for drawn, own in zip(values, parameters[name].detach(), strict=True):
            assert float(drawn.norm()) == pytest.approx(float(own.norm()), rel=1e-5)


def test_losses_are_those_of_moved_weights() -> None:
    """Each direction is drawn after the one before, from one generator."""
    network = _network()
    generator, losses = torch.Generator().manual_seed(3), []
    for _ in range(DIRECTIONS):
        direction = filter_normalised(dict(network.named_parameters()), generator)
        along = []
        for radius in RADII:
            moved = copy.deepcopy(network)
            with torch.no_grad():
                for name, parameter in moved.named_parameters():
                    if name in direction:
                        parameter.add_(radius * direction[name])
                along.append(cross_entropy(moved(_INPUTS), _LABELS).item())
        losses.append(along)
    facts = sharpness(network, _INPUTS, _LABELS, seed=3)
    expected = torch.tensor(losses)
    assert facts["radii"] == list(RADII)
    assert facts["losses"] == pytest.approx(expected.mean(dim=0).tolist(), rel=1e-5)
    assert facts["deviation"] == pytest.approx(expected.std(dim=0).tolist(), rel=1e-3, abs=1e-6)
    assert facts["deviation"][0] == 0
    assert rise(facts) == facts["losses"][2] - facts["losses"][0]


def test_network_and_global_generators_stay_as_they_were() -> None:
    network = _network()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    states = (torch.get_rng_state(), random.getstate())
    sharpness(network, _INPUTS, _LABELS)
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
