"""The tensors of a network are taken out of a checkpoint, whatever the training program put around them."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.weights import WeightsError
from teacher_service.models.packing.state_dict import state_dict_for
from tests.teacher_service.made_elsewhere import small

_FILE = Path("my.pth")
_STATE = small().state_dict()


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor] = _STATE) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def _taken(content: Mapping[str, Any]) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    state = state_dict_for(_FILE, content, list(_STATE), "small")
    return state.tensors, state.remarks


@pytest.mark.parametrize(
    ("content", "remarks"),
    [
        (_STATE, ()),
        ({"state_dict": _STATE, "epoch": 3}, ("the state dict is under 'state_dict'",)),
        ({"model": _STATE, "optimizer": {"state": {}}}, ("the state dict is under 'model'",)),
        ({"model_state_dict": OrderedDict(_STATE), "loss": 0.5}, ("the state dict is under 'model_state_dict'",)),
        (_with_prefix("module."), ("the prefix 'module.' was removed from its names",)),
        (_with_prefix("_orig_mod."), ("the prefix '_orig_mod.' was removed from its names",)),
        (
            {"state_dict": _with_prefix("model.")},
            ("the state dict is under 'state_dict'", "the prefix 'model.' was removed from its names"),
        ),
        (_with_prefix("_orig_mod.module."), ("the prefix '_orig_mod.module.' was removed from its names",)),
    ],
)
def test_names_are_those_of_the_network(content: Mapping[str, Any], remarks: tuple[str, ...]) -> None:
    tensors, said = _taken(content)
    assert said == remarks
    assert tensors.keys() == _STATE.keys()
    assert all(tensors[name] is _STATE[name] for name in _STATE)


def test_prefix_that_is_the_networks_own_stays() -> None:
    """Names are changed only where they then fit."""
    own = _with_prefix("model.")
    assert state_dict_for(_FILE, own, list(own), "wrapped").tensors == own


def test_what_is_not_the_networks_is_left_out_with_a_remark() -> None:
    """As a loss with weights beside a network of Lightning."""
    tensors, remarks = _taken({"state_dict": {**_with_prefix("model."), "criterion.weight": torch.ones(3)}})
    assert tensors.keys() == _STATE.keys()
    assert "1 of 10 tensors are not the network's and were left out: 'criterion.weight'" in remarks[-1]


def test_counter_of_batch_normalisation_may_be_missing() -> None:
    """Files of old versions have none."""
    without = {name: value for name, value in _STATE.items() if not name.endswith("num_batches_tracked")}
    assert len(without) < len(_STATE)
    assert _taken(without)[0].keys() == without.keys()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fc.weight": torch.ones(1)}, r"expected the parameters of small, got no 'features.*'fc\.weight' \(1 that"),
        ({**_STATE, "more": torch.ones(1)}, r"got 'more' \(1 that small does not have\)"),
        (
            {name: value for name, value in _with_prefix("module.").items() if "classifier.bias" not in name},
            r"got no 'classifier\.bias' \(1 of 9 are missing\); name the network .*--network",
        ),
        (
            {"epoch": 3, "loss": 0.5},
            r"expected a state dict, by itself or under 'state_dict', .*got a mapping of 'epoch'",
        ),
        ({}, "expected a state dict"),
    ],
)
def test_other_tensors_are_an_error_that_lists_them(content: Mapping[str, Any], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        _taken(content)
