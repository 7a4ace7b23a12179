"""The numbers of classes and channels are read off the tensors, in any family of networks."""

from pathlib import Path

import pytest
import torch

from shared.networks import build_network
from teacher_service.models.packing.counts import channels_of, classes_of, shapes_of
from tests.teacher_service.made_elsewhere import FACTORY


@pytest.mark.parametrize(
    "network",
    [
        "resnet8",
        "vgg8",
        "torchvision:shufflenet_v2_x0_5",
        "torchvision:squeezenet1_1",
        "torchvision:vit_b_32",
    ],
)
@pytest.mark.parametrize(("classes", "channels"), [(2, 3), (23, 1)])
def test_numbers_are_those_that_the_network_was_built_with(network: str, classes: int, channels: int) -> None:
    tensors = build_network(network, num_classes=classes, in_channels=channels).state_dict()
    assert (classes_of(network, tensors), channels_of(network, tensors)) == (classes, channels)


def test_own_factory_shows_its_numbers_too(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FACTORY)
    network = f"{tmp_path / 'own.py'}:make"
    tensors = build_network(network, num_classes=5, in_channels=2).state_dict()
    assert (classes_of(network, tensors), channels_of(network, tensors)) == (5, 2)


def test_factory_that_ignores_the_numbers_shows_none(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FACTORY.replace("Small(num_classes, in_channels)", "Small(4, 3)"))
    network = f"{tmp_path / 'own.py'}:make"
    tensors = build_network(network, num_classes=5, in_channels=2).state_dict()
    assert (classes_of(network, tensors), channels_of(network, tensors)) == (None, None)


def test_nothing_is_drawn_from_the_callers_generators() -> None:
    before = torch.get_rng_state()
    assert (7,) in shapes_of("resnet8").values()
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="no network is called 'resnt8'; did you mean 'resnet8'"):
        shapes_of("resnt8")
