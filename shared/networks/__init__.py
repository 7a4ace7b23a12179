"""Networks by name. A name and its parameter names are part of every weights file: neither may change.

build_network("resnet8x4", num_classes=10, in_channels=1)
"""

import re
from collections.abc import Callable

from torch import nn

from shared.networks.resnet import resnet
from shared.networks.wrn import wide_resnet

_Builder = Callable[[re.Match[str], int, int], nn.Module]

_FAMILIES: tuple[tuple[str, re.Pattern[str], _Builder], ...] = (
    (
        "resnet<depth> (8, 14, 20, 32, 44, 56, 110) and resnet<depth>x4 (8x4, 32x4)",
        re.compile(r"resnet(\d{1,4})(x4)?"),
        lambda match, classes, channels: resnet(int(match[1]), 4 if match[2] else 1, classes, channels),
    ),
    (
        "wrn_<depth>_<width> (16_1, 16_2, 40_1, 40_2)",
        re.compile(r"wrn_(\d{1,4})_(\d{1,2})"),
        lambda match, classes, channels: wide_resnet(int(match[1]), int(match[2]), classes, channels),
    ),
)


def build_network(name: str, *, num_classes: int, in_channels: int) -> nn.Module:
    """A freshly initialised network; draws from torch's global random state.

    The network maps float `[batch, in_channels, height, width]`, height and width at least 8, to logits
    `[batch, num_classes]`.

    Raises:
        ValueError: no family knows the name, or the family has no such depth.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2, got {num_classes}")
    if in_channels < 1:
        raise ValueError(f"in_channels: expected at least 1, got {in_channels}")
    for _, pattern, build in _FAMILIES:
        if match := pattern.fullmatch(name):
            return build(match, num_classes, in_channels)
    known = "; ".join(description for description, _, _ in _FAMILIES)
    raise ValueError(f"network: no network is called {name!r}; known: {known}")
