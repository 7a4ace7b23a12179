"""Every listed network can be built, and is what the list says."""

import pytest
import torch

from shared.networks import build_network
from shared.networks.listing import described, names_by_family, takes, weightless

NAMES = [name for names in names_by_family(with_torchvision=False).values() for name in names]


def _described(name: str, family: str = "any") -> tuple[int, int | None]:
    network = weightless(name, num_classes=5, in_channels=3)
    one = described(name, family, network, in_channels=3)
    return one.parameters, one.smallest_image


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_built_network(name: str) -> None:
    network = build_network(name, num_classes=5, in_channels=3)
    assert _described(name)[0] == sum(values.numel() for values in network.parameters())


@pytest.mark.parametrize(
    ("name", "smallest"), [("torchvision:vit_b_32", 224), ("torchvision:alexnet", 63), ("torchvision:resnet18", 8)]
)
def test_smallest_image_is_taken_and_a_smaller_one_is_not(name: str, smallest: int) -> None:
    assert _described(name)[1] == smallest
    network = build_network(name, num_classes=5, in_channels=3).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, smallest, smallest)).shape == (2, 5)
        if smallest > 8:
            with pytest.raises((RuntimeError, AssertionError)):
                network(torch.zeros(2, 3, smallest - 1, smallest - 1))


def test_network_that_computes_with_tensors_has_no_memory_either() -> None:
    """Torchvision's RegNet computes its widths with tensors, which must have values."""
    network = weightless("torchvision:regnet_y_400mf", num_classes=5, in_channels=3)
    assert {values.device.type for values in network.parameters()} == {"meta"}
    built = build_network("torchvision:regnet_y_400mf", num_classes=5, in_channels=3)
    assert sum(values.numel() for values in network.parameters()) == sum(one.numel() for one in built.parameters())
    assert takes(network, (3, 32, 32))


def test_torchvision_is_listed_where_it_is_wanted() -> None:
    listed = names_by_family(with_torchvision=True)["torchvision"]
    assert "torchvision:resnet18" in listed
    assert "torchvision:inception_v3" not in listed  # it has an auxiliary head


def test_listing_draws_nothing() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    weightless("resnet8", num_classes=5, in_channels=3)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("name", ["resnt8", "torchvision:resnt18", "resnet9"])
def test_wrong_name_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="network: "):
        weightless(name, num_classes=5, in_channels=3)
