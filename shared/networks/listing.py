"""The networks that have a name, and what each needs. A network is built without memory for its weights."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from shared.networks import PAPER_NETWORKS, build_network
from shared.networks.draws import kept_draws
from shared.networks.foreign import torchvision_classifiers
from shared.networks.outputs import logits_of

SMALLEST: Final = 8
"""The smallest height and width that networks are tried on."""
_SIZES: Final = (SMALLEST, 16, 32, 64, 128, 224, 299)
_FACTORIES: Final = (torch.empty, torch.zeros, torch.ones)


class NamedNetwork(NamedTuple):
    """A network with a name."""

    name: str
    """For `student.network`."""
    family: str
    parameters: int
    smallest_image: int | None
    """The least height and width that it takes, of square images from 8 to 299; None if it takes none of these."""


class _WeightsOnMeta(TorchFunctionMode):
    """Makes weights without memory, and all else on the CPU, for networks that compute their sizes with tensors."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch."""
        settings = dict(kwargs or {})
        if func in _FACTORIES and settings.get("device") is None:
            settings["device"] = "meta"
        return func(*args, **settings)


def names_by_family(*, with_torchvision: bool) -> dict[str, tuple[str, ...]]:
    """The names of networks by their family."""
    names = dict(PAPER_NETWORKS)
    if with_torchvision:
        names["torchvision"] = tuple(f"torchvision:{name}" for name in torchvision_classifiers())
    return names


def described(name: str, family: str, network: nn.Module, *, in_channels: int) -> NamedNetwork:
    """What a network is, from one without values for so many channels."""
    parameters = sum(values.numel() for values in network.parameters())
    return NamedNetwork(name, family, parameters, _smallest(network, in_channels))


def weightless(name: str, *, num_classes: int, in_channels: int) -> nn.Module:
    """A network whose weights have shapes and no values, in evaluation mode. Raises `ValueError` as `build_network`."""
    with kept_draws():
        try:
            network = _built(torch.device("meta"), name, num_classes, in_channels)
        except NotImplementedError:
            network = _built(_WeightsOnMeta(), name, num_classes, in_channels)
    return network.eval()


def takes(network: nn.Module, image_shape: tuple[int, int, int]) -> bool:
    """Whether a network without values takes images of this shape: channels, height, width."""
    try:
        with torch.inference_mode():
            logits_of(network(torch.empty(2, *image_shape, device="meta")))
    except Exception:  # each network says in a way of its own that an image is too small
        return False
    return True


def _built(without_memory: AbstractContextManager[Any], name: str, num_classes: int, in_channels: int) -> nn.Module:
    with without_memory:
        return build_network(name, num_classes=num_classes, in_channels=in_channels)


def _smallest(network: nn.Module, channels: int) -> int | None:
    """The least side of a square image that the network takes: the first of some sizes, then halving the interval."""
    below = SMALLEST - 1
    for size in _SIZES:
        if takes(network, (channels, size, size)):
            break
        below = size
    else:
        return None
    while size - below > 1:
        middle = (size + below) // 2
        if takes(network, (channels, middle, middle)):
            size = middle
        else:
            below = middle
    return size
