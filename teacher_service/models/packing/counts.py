"""How many classes and channels a state dict is for: read off the sizes that change with them in the network."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Final

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from shared.networks import build_network, runs_code
from shared.networks.draws import draws_from

Shapes = Mapping[str, tuple[int, ...]]

_CLASSES: Final = (7, 11)
_CHANNELS: Final = (3, 4)
"""Two numbers each: a size that differs between the two is a multiple of the number, and perhaps more."""


def shapes_of(network: str, classes: int = _CLASSES[0], channels: int = _CHANNELS[0]) -> Shapes:
    """The shape of each parameter and buffer of a network; those of lazy layers are empty.

    Raises:
        ValueError: as `build_network`.
    """
    with draws_from(0), nullcontext() if runs_code(network) else torch.device("meta"):  # which allocates nothing
        built = build_network(network, num_classes=classes, in_channels=channels)
    return {name: () if is_lazy(value) else tuple(value.shape) for name, value in built.state_dict().items()}


def classes_of(network: str, tensors: Mapping[str, Tensor]) -> int | None:
    """The number of classes that the tensors are for; None where they do not show it."""
    return _count(_CLASSES, lambda classes: shapes_of(network, classes=classes), tensors)


def channels_of(network: str, tensors: Mapping[str, Tensor]) -> int | None:
    """The number of channels that the tensors are for; None where they do not show it."""
    return _count(_CHANNELS, lambda channels: shapes_of(network, channels=channels), tensors)


def _count(numbers: tuple[int, int], shapes: Callable[[int], Shapes], tensors: Mapping[str, Tensor]) -> int | None:
    try:
        one, other = map(shapes, numbers)
    except ValueError:  # the network takes only one number, or states its own
        return None
    counts = set(_solutions(numbers, one, other, tensors))
    return counts.pop() if len(counts) == 1 else None


def _solutions(numbers: tuple[int, int], one: Shapes, other: Shapes, tensors: Mapping[str, Tensor]) -> Iterator[int]:
    """The number by each size that changes with it: a size is `each * number + rest`."""
    for name, values in tensors.items():
        sizes = zip(one.get(name, ()), other.get(name, ()), values.shape, strict=False)
        for first, second, size in sizes:
            if first != second:
                each = (second - first) / (numbers[1] - numbers[0])
                yield round((size - first) / each) + numbers[0]
