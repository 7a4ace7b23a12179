"""Frozen parts stay as their author left them, and what can be trained is trained."""

import pytest
from torch import nn

from distill_worker.training.network.frozen import check_trainable, frozen_parts, set_training_mode


def _network() -> nn.Sequential:
    """A trunk of two layers and dropout, and a head."""
    return nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout()), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("frozen", "evaluating", "in_training"),
    [
        (False, [], [True, True]),
        (True, [0], [False, True]),
        (True, [], [True, True]),
        (False, [0], [True, True]),
    ],
    ids=["plain", "frozen and in evaluation", "frozen alone", "in evaluation alone"],
)
def test_part_stays_in_evaluation_if_it_is_frozen_too(
    frozen: bool, evaluating: list[int], in_training: list[bool]
) -> None:
    network = _network()
    network[0].requires_grad_(not frozen)
    for part in evaluating:
        network[part].eval()
    parts = frozen_parts(network)
    network.eval()
    set_training_mode(network, parts)
    assert network.training
    assert [part.training for part in network] == in_training
    assert all(module.training == network[0].training for module in network[0].modules())


def test_network_that_comes_whole_in_evaluation_mode_is_trained() -> None:
    network = _network()
    network[0].requires_grad_(False)
    network.eval()
    set_training_mode(network, frozen_parts(network))
    assert all(module.training for module in network.modules())


def test_network_without_trainable_parameters_is_rejected() -> None:
    network = _network()
    network[0].requires_grad_(False)
    check_trainable(network)
    network.requires_grad_(False)
    with pytest.raises(
        ValueError, match="network: expected at least one trainable parameter, got 6 that are all frozen"
    ):
        check_trainable(network)
