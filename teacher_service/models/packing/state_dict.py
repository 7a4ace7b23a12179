"""The tensors of a network among those of a checkpoint, under the network's own names.

Training programs nest a state dict (`state_dict`, `model`, `model_state_dict`) and wrap the network (`module.`,
`_orig_mod.`, `model.`). Both is undone where the names then are those of the network.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from shared.weights import WeightsError
from teacher_service.models.packing.checkpoint import is_state_dict

NESTED: Final = ("state_dict", "model_state_dict", "model")
PREFIXES: Final = ("module.", "_orig_mod.", "model.")
_MOST_PREFIXES: Final = 3
_COUNTER: Final = "num_batches_tracked"
"""A buffer of batch normalisation that old files lack, and that no output depends on in evaluation mode."""
_MOST_LISTED: Final = 3


@dataclass(frozen=True)
class StateDict:
    """The tensors of a network by its own names, and what was done to get them."""

    tensors: Mapping[str, Tensor]
    remarks: tuple[str, ...] = ()


def state_dict_for(path: Path, content: Mapping[str, Any], names: Collection[str], network: str) -> StateDict:
    """The tensors for a network.

    Args:
        path: the file, for messages.
        content: what the file holds.
        names: of the network's parameters and buffers.
        network: the network's name, for messages.

    Raises:
        WeightsError: the file holds no state dict, or none whose names are those of the network.
    """
    state_dicts = list(_state_dicts(content))
    if not state_dicts:
        raise WeightsError(
            f"{path}: expected a state dict, by itself or under {', '.join(map(repr, NESTED))}, got a mapping of "
            f"{_listed(list(map(str, content)))}"
        )
    for place, tensors in state_dicts:
        for prefix, stripped in _without_prefixes(tensors):
            if fitting := _fitting(stripped, names):
                return StateDict(fitting, tuple(_remarks(place, prefix, tensors)))
    _, tensors = state_dicts[0]
    closest = max(
        (stripped for _, stripped in _without_prefixes(tensors)), key=lambda one: len(one.keys() & set(names))
    )
    raise WeightsError(f"{path}: {_difference(closest, names, network)}")


def _state_dicts(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Each state dict in a checkpoint, with the name that it is nested under."""
    if is_state_dict(content):
        yield "", content
    for name in NESTED:
        inner = content.get(name)
        if is_state_dict(inner):
            yield name, inner


def _without_prefixes(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """The state dict, and what remains of it behind each sequence of prefixes."""
    pending: list[tuple[str, Mapping[str, Tensor]]] = [("", dict(tensors))]
    while pending:
        prefix, current = pending.pop(0)
        yield prefix, current
        if prefix.count(".") < _MOST_PREFIXES:
            for more in PREFIXES:
                behind = {name.removeprefix(more): value for name, value in current.items() if name.startswith(more)}
                if behind:
                    pending.append((prefix + more, behind))


def _fitting(tensors: Mapping[str, Tensor], names: Collection[str]) -> Mapping[str, Tensor] | None:
    """The tensors, if their names are those of the network."""
    absent = {name for name in set(names) - tensors.keys() if not name.endswith(_COUNTER)}
    return None if absent or tensors.keys() - set(names) else tensors


def _remarks(place: str, prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    if place:
        yield f"the state dict is under {place!r}"
    if prefix:
        yield f"the prefix {prefix!r} was removed from its names"
    if left := [name for name in tensors if not name.startswith(prefix)]:
        yield f"{len(left)} of {len(tensors)} tensors are not the network's and were left out: {_listed(left)}"


def _difference(tensors: Mapping[str, Tensor], names: Collection[str], network: str) -> str:
    absent = [name for name in names if name not in tensors and not name.endswith(_COUNTER)]
    others = [name for name in tensors if name not in set(names)]
    parts = []
    if absent:
        parts.append(f"no {_listed(absent)} ({len(absent)} of {len(names)} are missing)")
    if others:
        parts.append(f"{_listed(others)} ({len(others)} that {network} does not have)")
    return (
        f"expected the parameters of {network}, got {' and '.join(parts)}; name the network that the file was saved "
        "from, with --network"
    )


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_LISTED
    return ", ".join(map(repr, names[:_MOST_LISTED])) + (" and others" if more > 0 else "")
