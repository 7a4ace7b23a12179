"""Networks by name. A name and its parameter names are part of every weights file: neither may change.

build_network("resnet8x4", num_classes=10, in_channels=1)
"""

import re
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Final

from torch import nn

from shared.expectations import did_you_mean
from shared.networks.foreign import factory_network, timm_network, torchvision_network
from shared.networks.given import GIVEN, given_network
from shared.networks.mobilenetv2 import mobilenetv2
from shared.networks.resnet import resnet
from shared.networks.shufflenetv1 import shufflenetv1
from shared.networks.shufflenetv2 import shufflenetv2
from shared.networks.source import module_digest
from shared.networks.vgg import vgg
from shared.networks.wrn import wide_resnet

_Builder = Callable[[re.Match[str], int, int], nn.Module]

_FACTORY = re.compile(r"(.+\.py|[a-zA-Z_]\w*(?:\.\w+)*):([a-zA-Z_]\w*)")

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
    (
        "vgg<depth> (8, 11, 13, 16, 19)",
        re.compile(r"vgg(\d{1,4})"),
        lambda match, classes, channels: vgg(int(match[1]), classes, channels),
    ),
    ("mobilenetv2", re.compile("mobilenetv2"), lambda _, classes, channels: mobilenetv2(classes, channels)),
    ("shufflenetv1", re.compile("shufflenetv1"), lambda _, classes, channels: shufflenetv1(classes, channels)),
    ("shufflenetv2", re.compile("shufflenetv2"), lambda _, classes, channels: shufflenetv2(classes, channels)),
    (
        "torchvision:<name> (torchvision's classifiers)",
        re.compile(r"torchvision:(\w+)"),
        lambda match, classes, channels: torchvision_network(match[1], classes, channels),
    ),
    (
        "timm:<name> (timm's classifiers, where timm is installed)",
        re.compile(r"timm:([\w.-]+)"),
        lambda match, classes, channels: timm_network(match[1], classes, channels),
    ),
    (
        "given::<class> (a module that is given in Python)",
        GIVEN,
        lambda match, _classes, _channels: given_network(match[0]),
    ),
    (
        "<module>:<factory> or path/to/file.py:<factory> (called with num_classes and in_channels)",
        _FACTORY,
        lambda match, classes, channels: factory_network(match[1], match[2], classes, channels),
    ),
)

PAPER_NETWORKS: Final[Mapping[str, tuple[str, ...]]] = {
    "resnet": tuple(f"resnet{depth}" for depth in ("8", "14", "20", "32", "44", "56", "110", "8x4", "32x4")),
    "wrn": tuple(f"wrn_{size}" for size in ("16_1", "16_2", "40_1", "40_2")),
    "vgg": tuple(f"vgg{depth}" for depth in (8, 11, 13, 16, 19)),
    "mobilenet": ("mobilenetv2",),
    "shufflenet": ("shufflenetv1", "shufflenetv2"),
}
"""The networks of the papers, by family."""


def build_network(name: str, *, num_classes: int, in_channels: int) -> nn.Module:
    """A freshly initialised network; draws from torch's global random state.

    The network maps float `[batch, in_channels, height, width]`, height and width at least 8, to logits
    `[batch, num_classes]`; a network made elsewhere (a name with a colon) may ask for larger images. A factory's name
    runs the factory's code: see `runs_code`. A module that is given in Python is copied with its weights, whatever the
    number of classes.

    Raises:
        ValueError: no family knows the name, the family has no such depth, or a network made elsewhere cannot be had.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2, got {num_classes}")
    if in_channels < 1:
        raise ValueError(f"in_channels: expected at least 1, got {in_channels}")
    for _, pattern, build in _FAMILIES:
        if match := pattern.fullmatch(name):
            return build(match, num_classes, in_channels)
    known = "; ".join(description for description, _, _ in _FAMILIES)
    raise ValueError(
        f"network: no network is called {name!r}{did_you_mean(name, chain(*PAPER_NETWORKS.values()))}; known: {known}"
    )


def runs_code(name: str) -> bool:
    """Whether `build_network` would import and call code that the name picks: a factory, and nothing else."""
    return next((pattern is _FACTORY for _, pattern, _ in _FAMILIES if pattern.fullmatch(name)), False)


def source_digest(name: str) -> str | None:
    """A digest of the code that `build_network` would run for a factory's name; None for every other name.

    See `source.module_digest` for what it covers.

    Raises:
        ValueError: the factory's module or file cannot be read.
    """
    match = _FACTORY.fullmatch(name)
    return module_digest(match[1]) if match and runs_code(name) else None
