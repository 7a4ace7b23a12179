"""Feature taps: what a layer of a network gives (or takes), by a name that both sides of the wire use.

A network may name its taps (`taps`, from name to place); in any other network a tap is its place: a module path such
as `layer3` for what the module gives, or `fc:input` for what it takes.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

import torch
from torch import Tensor, nn

from shared.expectations import did_you_mean
from shared.networks.outputs import evaluating, logits_of

_INPUT: Final = ":input"


def named_taps(network: nn.Module) -> Mapping[str, str]:
    """The taps that the network names, from name to place, in the order of the forward pass."""
    taps = getattr(network, "taps", {})
    return taps if isinstance(taps, Mapping) else {}


def forward_with_features(
    network: nn.Module, images: Tensor, layers: Sequence[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits of one forward pass, and each layer's features `[batch, ...]`, in the order of `layers`.

    The features are copies, so that a layer behind which works in place does not change them; gradients flow through.

    Raises:
        ValueError: the network has no such layer, the layer does not handle exactly one tensor, once, or the output
            has no logits.
    """
    return TappedNetwork(network, layers)(images)


class TappedNetwork:
    """Forward passes of one network that give the features of the same layers: see `forward_with_features`.

    All passes share one dict of features. Compiled code holds on to the dict that it was traced with.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[str], forward: Callable[[Tensor], Any] | None = None
    ) -> None:
        """Make passes that call `forward` in place of the network, such as a compiled one."""
        self._network = network
        self._layers = tuple(layers)
        self._forward = network if forward is None else forward
        self._features: dict[str, Tensor] = {}

    def __call__(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward_with_features`, which raises the same."""
        self._features.clear()
        with ExitStack() as hooks:
            for layer in dict.fromkeys(self._layers):
                hooks.enter_context(_attach(self._network, layer, self._features))
            logits = logits_of(self._forward(images))
        absent = [layer for layer in self._layers if layer not in self._features]
        if absent:
            raise ValueError(f"layer: {absent[0]!r} takes no part in the forward pass")
        return logits, {layer: self._features[layer] for layer in self._layers}


def feature_shapes(
    network: nn.Module, image_shape: tuple[int, int, int], layers: Sequence[str] | None = None
) -> dict[str, tuple[int, ...]]:
    """The shape of one sample's features at each layer (by default: at every named tap); leaves the modes as they were.

    Raises:
        ValueError: as `forward_with_features`.
    """
    images = torch.zeros(1, *image_shape, device=next(network.parameters()).device)
    with evaluating(network):
        names = tuple(named_taps(network)) if layers is None else layers
        _, features = forward_with_features(network, images, names)
    return {layer: tuple(values.shape[1:]) for layer, values in features.items()}


def _attach(network: nn.Module, layer: str, found: dict[str, Tensor]) -> Any:
    place = named_taps(network).get(layer, layer)
    path = place.removesuffix(_INPUT)
    try:
        module = network.get_submodule(path)
    except AttributeError:
        module = network
    if module is network:
        known = list(named_taps(network)) or [name for name, _ in network.named_children()]
        raise ValueError(
            f"layer: the network has no layer {layer!r}{did_you_mean(layer, known)}; known: {', '.join(known)}, or any "
            "module's path"
        )
    if place.endswith(_INPUT):
        return module.register_forward_pre_hook(lambda _, inputs: _keep(found, layer, inputs))
    return module.register_forward_hook(lambda _, __, output: _keep(found, layer, (output,)))


def _keep(found: dict[str, Tensor], layer: str, values: tuple[object, ...]) -> None:
    if len(values) != 1 or not isinstance(values[0], Tensor) or layer in found:
        raise ValueError(f"layer: {layer!r} does not handle exactly one tensor, once a forward pass")
    found[layer] = values[0].clone()
