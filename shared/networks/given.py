"""Networks that a caller hands over as modules, by a name for as long as its call lasts.

`given::<class>` is a module that the caller has, `pretrained::<class>` one whose weights were trained on other data.
No weights file holds the code of such a network: to load it, the caller hands the module over again.

Invariant: each build is a copy of the module as it was when it was handed over, with its weights.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from typing import Final

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from shared.networks.module_code import network_digest

GIVEN: Final = re.compile(r"(given|pretrained)::(\w+)")
"""The names of such networks."""
_PRETRAINED: Final = "pretrained"
_DIGEST_LENGTH: Final = 16
_BATCH_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_MODULES: Final[ContextVar[dict[str, nn.Module]]] = ContextVar("_MODULES", default={})  # noqa: B039 - it is replaced, never changed


def is_given(name: str) -> bool:
    """Whether a name is that of a network that a caller hands over."""
    return GIVEN.fullmatch(name) is not None


def is_at_hand(name: str) -> bool:
    """Whether a caller has handed over a module with this name, and its call still lasts."""
    return name in _MODULES.get()


def name_of(module: nn.Module, *, pretrained: bool) -> str:
    """The name of a module, by its class."""
    return f"{_PRETRAINED if pretrained else 'given'}::{type(module).__name__}"


@contextmanager
def given(name: str, module: nn.Module) -> Iterator[None]:
    """Let `build_network` build this module by this name, meanwhile, in this thread.

    Raises:
        ValueError: the module cannot be copied.
    """
    try:
        kept = copy.deepcopy(module).cpu()
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        raise ValueError(
            f"network: expected a module that can be copied, got an error from {type(module).__name__} "
            f"({' '.join(str(error).split())}); leave out what a forward pass stored in it"
        ) from error
    token = _MODULES.set({**_MODULES.get(), name: kept})
    try:
        yield
    finally:
        _MODULES.reset(token)


def given_network(name: str) -> nn.Module:
    """A copy of the module with this name.

    Raises:
        ValueError: none has it now.
    """
    return copy.deepcopy(_module(name))


def given_digest(name: str) -> str:
    """A digest of a module's layers and of their code: see `network_digest`.

    Raises:
        ValueError: no module has this name now.
    """
    return network_digest(_module(name))


def weights_digest(name: str) -> str:
    """A digest of the weights of a module, as it was handed over.

    Raises:
        ValueError: no module has this name now.
    """
    digest = sha256()
    for key, values in sorted(_module(name).state_dict().items()):
        digest.update(f"{key}:".encode())
        if isinstance(values, torch.Tensor) and not is_lazy(values):
            content = values.detach().contiguous().flatten().view(torch.uint8)
            digest.update(f"{values.dtype}:{tuple(values.shape)}:".encode() + content.numpy().tobytes())
    return digest.hexdigest()[:_DIGEST_LENGTH]


def looks_trained(module: nn.Module) -> bool:
    """Whether the normalisations of a module show that its weights were trained.

    Fresh ones have the same scale in every channel, and batch normalisations have seen no batch: mean 0, variance 1.
    """
    for layer in module.modules():
        if isinstance(layer, (*_BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)) and _varies(layer.weight):
            return True
        if isinstance(layer, _BATCH_NORMS) and _varies(layer.running_mean, 0.0):
            return True
    return False


def _varies(values: torch.Tensor | None, first: float | None = None) -> bool:
    """Whether some values differ from the first one, or from a given one."""
    if values is None or is_lazy(values) or not values.numel():
        return False
    with torch.no_grad():
        return bool((values != (values.flatten()[0] if first is None else first)).any())


def _module(name: str) -> nn.Module:
    module = _MODULES.get().get(name)
    if module is None:
        raise ValueError(
            f"network: {name!r} is a module that was given in Python, and no file holds its code; give it again: "
            "distill_worker.load(path, network=module), or distill_worker.distill(module, ...) to train on"
        )
    return module
