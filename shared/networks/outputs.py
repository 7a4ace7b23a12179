"""The logits in the output of any network, and the check of a network before it is used.

A network may return its logits `[batch, classes]` in several ways. In a mapping or an object, such as a `ModelOutput`,
the value named `logits` counts, else the first tensor; in a tuple or list, the first tensor. Trailing dimensions of
size 1 are dropped: `[batch, classes, 1, 1]` is accepted.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Final

import torch
from torch import Tensor, nn

from shared.networks.foreign import described

_TRIED: Final = (1, 2)
"""Batch sizes of the check: some networks drop the dimension of the batch where it is 1."""


def logits_of(output: object) -> Tensor:
    """The logits in a network's output, float `[batch, classes]`.

    Raises:
        ValueError: the output has no tensor, or its tensor has another shape or type.
    """
    logits = _first_tensor(output)
    if logits is None:
        raise ValueError(
            "network: expected a tensor of logits [batch, classes], or a tuple, list, mapping or data class that holds "
            f"it, as the output; got {type(output).__name__}"
        )
    if logits.ndim > 2 and set(logits.shape[2:]) == {1}:
        logits = logits.flatten(1)
    if logits.ndim != 2 or not logits.is_floating_point():
        raise ValueError(
            "network: expected logits, float [batch, classes], as the output or as the first tensor in it, got "
            f"{logits.dtype} {list(logits.shape)}"
        )
    return logits


def check_network(network: nn.Module, image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Check, by passes over black images, that a network maps images of this shape to logits for so many classes.

    The passes also give lazy layers their shapes, and with them their first weights, which draw from torch's global
    random state. Modes stay as they were.

    Raises:
        ValueError: the network fails on such images, has other outputs, or makes parameters only when it is called.
    """
    names = {name for name, _ in network.named_parameters()}
    if not names:
        raise ValueError("network: expected a network with parameters, got one without any")
    device = next(network.parameters()).device
    for samples in _TRIED:
        images = torch.zeros(samples, *image_shape, device=device)
        try:
            with evaluating(network):
                output = network(images)
        except Exception as error:  # the network's own code may raise anything
            raise ValueError(
                f"network: expected one that takes images of shape {list(image_shape)}, got an error from "
                f"it ({described(error)}); choose another network, or images of another size"
            ) from error
        if (shape := list(logits_of(output).shape)) != [samples, num_classes]:
            raise ValueError(
                f"network: expected logits of shape {[samples, num_classes]} for a batch of {samples} and "
                f"{num_classes} classes, got {shape}; a factory must return as many logits as num_classes says"
            )
    if late := sorted({name for name, _ in network.named_parameters()} - names):
        raise ValueError(
            f"network: expected every parameter to exist before the first call, got {late[0]!r} made by that call; "
            "make it in __init__, or use a lazy layer of torch"
        )


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put the network into evaluation mode, without gradients, and each of its modules back into its own mode after."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        # Not in inference mode: lazy layers get their parameters here, and learn later.
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _first_tensor(output: object) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    return next((tensor for value in _values(output) if (tensor := _first_tensor(value)) is not None), None)


def _values(output: object) -> Iterable[object]:
    if isinstance(output, Mapping):
        return output.values()
    if isinstance(output, (tuple, list)):
        return output
    return vars(output).values() if is_dataclass(output) else ()
