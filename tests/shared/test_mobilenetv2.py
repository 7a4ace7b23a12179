"""MobileNetV2 against the paper's table, at half width."""

import torch
from torch.nn.functional import linear

from shared.networks import build_network
from shared.networks.taps import feature_shapes
from tests.shared.spelt_out import convolved, lived_in, tensors_of

_TABLE = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
"""Expansion, channels at full width, blocks, stride of the first (the paper halves in the second row too)."""


def test_forward_pass_is_the_table_spelt_out() -> None:
    """A block expands, filters, projects without a ReLU, and adds its input where shapes agree."""
    network = lived_in(build_network("mobilenetv2", num_classes=4, in_channels=2))
    tensors, images = tensors_of(network), torch.randn(2, 2, 33, 32)
    hidden = convolved(images, tensors, stride=2).clamp(min=0)
    for expansion, channels, blocks, first_stride in _TABLE:
        for block in range(blocks):
            width = hidden.shape[1] * expansion
            inner = convolved(hidden, tensors).clamp(min=0)
            inner = convolved(inner, tensors, stride=first_stride if block == 0 else 1, groups=width).clamp(min=0)
            inner = convolved(inner, tensors)
            assert inner.shape[1] == channels // 2
            hidden = inner + hidden if inner.shape == hidden.shape else inner
    hidden = convolved(hidden, tensors).clamp(min=0)
    assert hidden.shape == (2, 1280, 3, 2)
    expected = linear(hidden.mean(dim=(2, 3)), next(tensors), next(tensors))
    assert next(tensors, None) is None
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_a_stage_is_what_shares_a_resolution() -> None:
    network = build_network("mobilenetv2", num_classes=10, in_channels=3)
    assert feature_shapes(network, (3, 32, 32)) == {
        "stage1": (12, 16, 16),
        "stage2": (16, 8, 8),
        "stage3": (48, 4, 4),
        "stage4": (160, 2, 2),
        "pooled": (1280,),
    }
