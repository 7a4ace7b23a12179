"""The logits in the output of any network, and the check of a network before it is used.

A network may return its logits `[batch, classes]` in several ways. In a mapping or an object, such as a `ModelOutput`,
the value named `logits` counts, else the first tensor, if no other has its shape; in a tuple or list, the first tensor.
Trailing dimensions of size 1 are dropped: `[batch, classes, 1, 1]` is accepted.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shared.networks.foreign import described

_TRIED: Final = (1, 2)
"""Batch sizes of the check: some networks drop the dimension of the batch where it is 1."""


def logits_of(output: object) -> Tensor:
    """The logits in a network's output, float `[batch, classes]`.

    Raises:
        ValueError: the output has no tensor, or several that could be the logits, or its tensor has another shape or
            type.
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
    random state. All other parameters and buffers, and the modes, stay as they were.

    Raises:
        ValueError: the network fails on such images, has other outputs, makes parameters or buffers only when it is
            called, or has a state that is not made of tensors.
    """
    if next(network.parameters(), None) is None:
        raise ValueError("network: expected a network with parameters, got one without any")
    state = network.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(  # noqa: TRY004 - one error for every bad network
                f"network: expected a state_dict() of tensors, got {type(value).__name__} in {name!r}; keep it in a "
                "buffer, or leave it out"
            )
    device = next(network.parameters()).device
    for samples in _TRIED:
        images = torch.zeros(samples, *image_shape, device=device)
        try:
            with evaluating(network):
                output = network(images)
        except (Exception, SystemExit) as error:  # the network's own code may raise anything
            remedy = "choose another network, or images of another size"
            if isinstance(error, ImportError):
                remedy = "import files of your own where the factory's module begins, not in a forward pass"
            raise ValueError(
                f"network: expected one that takes images of shape {list(image_shape)}, got an error from "
                f"it ({described(error)}); {remedy}"
            ) from error
        if (shape := list(logits_of(output).shape)) != [samples, num_classes]:
            raise ValueError(
                f"network: expected logits of shape {[samples, num_classes]} for a batch of {samples} and "
                f"{num_classes} classes, got {shape}; a factory must return as many logits as num_classes says"
            )
    if late := sorted(network.state_dict().keys() ^ state.keys()):
        raise ValueError(
            f"network: expected every parameter and buffer to exist before the first call, got {late[0]!r} made or "
            "removed by that call; make it in __init__, or use a lazy layer of torch"
        )


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put the network into evaluation mode, without gradients, and back as it was after.

    Each module gets its own mode back, and each parameter and buffer its values, but for those that a lazy layer makes:
    a layer may initialise itself from the first images that it sees.
    """
    modes = {module: module.training for module in network.modules()}
    before = {name: values.clone() for name, values in network.state_dict().items() if _has_values(values)}
    network.eval()
    try:
        # Not in inference mode: lazy layers get their parameters here, and learn later.
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        _restore(network, before)


def _has_values(values: object) -> bool:
    return isinstance(values, Tensor) and not is_lazy(values)


def _restore(network: nn.Module, before: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if name in before and values.shape == before[name].shape:
                values.copy_(before[name])


def _first_tensor(output: object) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    named = _named_values(output)
    logits = named.get("logits", getattr(output, "logits", None))
    if isinstance(logits, Tensor):
        return logits
    values = named.values() or (output if isinstance(output, (tuple, list)) else ())
    first = next((tensor for value in values if (tensor := _first_tensor(value)) is not None), None)
    alike = [name for name, value in named.items() if isinstance(value, Tensor) and _is_like(value, first)]
    if len(alike) > 1:
        raise ValueError(
            f"network: expected one tensor of logits in the output, or one named 'logits', got {len(alike)} of one "
            f"shape ({', '.join(map(repr, alike))}); name one of them 'logits'"
        )
    return first


def _named_values(output: object) -> Mapping[str, object]:
    """The values of a mapping, a named tuple or a data class, by name; none of anything else."""
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items()}
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    names = getattr(output, "_fields", ()) if isinstance(output, tuple) else ()
    return {name: getattr(output, name) for name in names}


def _is_like(value: Tensor, other: Tensor | None) -> bool:
    return other is not None and value.shape == other.shape and value.is_floating_point()
