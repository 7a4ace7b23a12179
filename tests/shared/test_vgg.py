"""The VGG networks against their plan: sizes counted by hand, and a forward pass spelt out."""

import pytest
import torch
from torch.nn.functional import linear, max_pool2d

from shared.networks import build_network
from shared.networks.taps import feature_shapes
from tests.shared.spelt_out import convolved, lived_in, tensors_of

_PLANS = {
    "vgg8": [[64], [128], [256], [512], [512]],
    "vgg11": [[64], [128], [256, 256], [512, 512], [512, 512]],
    "vgg13": [[64, 64], [128, 128], [256, 256], [512, 512], [512, 512]],
    "vgg16": [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]],
    "vgg19": [[64, 64], [128, 128], [256] * 4, [512] * 4, [512] * 4],
}


@pytest.mark.parametrize("name", _PLANS)
def test_parameters_are_those_of_the_plan(name: str) -> None:
    """Each convolution: 9 weights a channel pair and a bias; each normalisation: two a channel; then 512 x 10 + 10."""
    count, previous = 0, 1
    for channels in (channels for stage in _PLANS[name] for channels in stage):
        count += 9 * previous * channels + channels + 2 * channels
        previous = channels
    network = build_network(name, num_classes=10, in_channels=1)
    assert sum(parameter.numel() for parameter in network.parameters()) == count + 512 * 10 + 10


@pytest.mark.parametrize("name", ["vgg8", "vgg11"])
def test_forward_pass_is_the_plan_spelt_out(name: str) -> None:
    """Convolution, normalisation, ReLU; a pool behind each of the first three stages; the mean over the image."""
    network = lived_in(build_network(name, num_classes=4, in_channels=2))
    tensors, images = tensors_of(network), torch.randn(2, 2, 16, 17)
    hidden = images
    for stage, plan in enumerate(_PLANS[name]):
        for _ in plan:
            hidden = convolved(hidden, tensors, biased=True).clamp(min=0)
        if stage < 3:
            hidden = max_pool2d(hidden, 2)
    assert hidden.shape == (2, 512, 2, 2)
    expected = linear(hidden.mean(dim=(2, 3)), next(tensors), next(tensors))
    assert next(tensors, None) is None
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "last"),
    [
        ((8, 8), (1, 1)),
        ((32, 32), (4, 4)),
        ((32, 96), (4, 12)),
        ((63, 63), (7, 7)),
        ((64, 64), (4, 4)),
        ((64, 32), (8, 4)),
        ((96, 96), (6, 6)),
    ],
)
def test_fourth_pool_is_for_images_from_64x64_up(size: tuple[int, int], last: tuple[int, int]) -> None:
    network = build_network("vgg8", num_classes=4, in_channels=1)
    assert feature_shapes(network, (1, *size), ["stage5"]) == {"stage5": (512, *last)}
