"""Both ShuffleNets against their figures, spelt out."""

import torch
from torch.nn.functional import avg_pool2d, linear

from shared.networks import build_network
from shared.networks.shufflenetv1 import shuffle
from shared.networks.taps import feature_shapes
from tests.shared.spelt_out import convolved, lived_in, shuffled, tensors_of


def test_shuffle_deals_the_groups_out_in_turn() -> None:
    """Channels 0 1 2 | 3 4 5 become 0 3 1 4 2 5; in three groups, 0 1 | 2 3 | 4 5 become 0 2 4 1 3 5."""
    features = torch.arange(6.0).view(1, 6, 1, 1) + torch.tensor([0.0, 10.0]).view(2, 1, 1, 1)
    assert shuffle(features, 2).flatten(1).tolist() == [[0, 3, 1, 4, 2, 5], [10, 13, 11, 14, 12, 15]]
    assert shuffle(features, 3)[0].flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert shuffle(features, 1).equal(features)


def test_shufflenetv1_forward_pass_is_the_figure_spelt_out() -> None:
    """A halving block appends its work to the averaged input; any other adds it to the input; then a ReLU."""
    network = lived_in(build_network("shufflenetv1", num_classes=4, in_channels=2))
    tensors, images = tensors_of(network), torch.randn(2, 2, 16, 9)
    hidden = convolved(images, tensors).clamp(min=0)
    for channels, blocks in ((240, 4), (480, 8), (960, 4)):
        for block in range(blocks):
            groups = 1 if hidden.shape[1] == 24 else 3
            bottleneck = (channels - hidden.shape[1] if block == 0 else channels) // 4
            inner = shuffled(convolved(hidden, tensors, groups=groups).clamp(min=0), groups)
            assert inner.shape[1] == bottleneck
            inner = convolved(inner, tensors, stride=2 if block == 0 else 1, groups=bottleneck).clamp(min=0)
            inner = convolved(inner, tensors, groups=3)
            if block == 0:
                inner = torch.cat([inner, avg_pool2d(hidden, 3, stride=2, padding=1, count_include_pad=True)], dim=1)
            else:
                inner = inner + hidden
            hidden = inner.clamp(min=0)
        assert hidden.shape[1] == channels
    expected = linear(hidden.mean(dim=(2, 3)), next(tensors), next(tensors))
    assert next(tensors, None) is None
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_shufflenetv2_forward_pass_is_the_figure_spelt_out() -> None:
    """A halving block works on all channels in both branches; any other passes the first half on; then a shuffle."""
    network = lived_in(build_network("shufflenetv2", num_classes=4, in_channels=2))
    tensors, images = tensors_of(network), torch.randn(2, 2, 16, 9)
    hidden = convolved(images, tensors).clamp(min=0)
    for channels, blocks in ((116, 4), (232, 8), (464, 4)):
        for block in range(blocks):
            half, stride = channels // 2, 2 if block == 0 else 1
            if block == 0:
                passed = convolved(hidden, tensors, stride=2, groups=hidden.shape[1])
                passed = convolved(passed, tensors).clamp(min=0)
                inner = hidden
            else:
                passed, inner = hidden[:, :half], hidden[:, half:]
            inner = convolved(inner, tensors).clamp(min=0)
            inner = convolved(inner, tensors, stride=stride, groups=half)
            inner = convolved(inner, tensors).clamp(min=0)
            hidden = shuffled(torch.cat([passed, inner], dim=1), 2)
        assert hidden.shape[1] == channels
    hidden = convolved(hidden, tensors).clamp(min=0)
    expected = linear(hidden.mean(dim=(2, 3)), next(tensors), next(tensors))
    assert next(tensors, None) is None
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_stages_halve_the_image() -> None:
    for name, pooled, widths in (("shufflenetv1", 960, (240, 480, 960)), ("shufflenetv2", 1024, (116, 232, 464))):
        network = build_network(name, num_classes=10, in_channels=3)
        assert feature_shapes(network, (3, 32, 32)) == {
            "stage1": (widths[0], 16, 16),
            "stage2": (widths[1], 8, 8),
            "stage3": (widths[2], 4, 4),
            "pooled": (pooled,),
        }
