"""The weights that a student starts from, if the user has some: `student.weights`.

The file is a safetensors file, of this project or another, or a state dict that PyTorch saved. Every tensor of the
network comes from it, but for those of a classifier for another number of classes, which are left as they are drawn.

Invariant: no code in a file is run.
"""

import pickle
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from distill_worker.errors import ConfigError

_SETTING: Final = "student.weights"
_STATES: Final = ("state_dict", "model_state_dict", "model")
"""Where a checkpoint keeps the state dict of its network."""
_WRAPPED: Final = "module."
"""The start of every name, if the network was trained in several processes."""
_COUNTS: Final = ".num_batches_tracked"
"""Files of earlier PyTorch lack them."""
_UNREADABLE: Final = (
    *(OSError, EOFError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError),
    *(LookupError, TypeError, AttributeError),  # PyTorch raises them for what is no pickle
)
_DIGEST_LENGTH: Final = 16
_MOST_NAMES: Final = 5


def load_first_weights(network: nn.Module, file: Path, *, num_classes: int) -> list[str]:
    """Load the weights in a file into a network; the names of the tensors that are left as they were drawn.

    Raises:
        ConfigError: the file cannot be read, or does not fit the network.
    """
    state = _state_in(file)
    own = network.state_dict()
    left_out = _of_other_classes(own, state, num_classes)
    absent = [name for name in own if name not in state and not name.endswith(_COUNTS)]
    surplus = [name for name in state if name not in own]
    others = [
        f"{name} {list(values.shape)} in place of {list(own[name].shape)}"
        for name, values in state.items()
        if name in own and name not in left_out and not is_lazy(own[name]) and values.shape != own[name].shape
    ]
    faults = [
        f"{what} {_listed(names)}"
        for what, names in (("without", absent), ("with others, named", surplus), ("of other shapes:", others))
        if names
    ]
    if faults:
        raise ConfigError(
            f"{_SETTING}: expected the tensors of student.network, got {file.name} {'; '.join(faults)}; name the "
            "network that the weights are of"
        )
    network.load_state_dict({name: values for name, values in state.items() if name not in left_out}, strict=False)
    return left_out


def digest_of(file: Path) -> str:
    """A digest of the tensors in a file, with their names. Raises `ConfigError`."""
    digest = sha256()
    for name, values in sorted(_state_in(file).items()):
        digest.update(f"{name}:{values.dtype}:{tuple(values.shape)}:".encode())
        digest.update(values.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:_DIGEST_LENGTH]


def _of_other_classes(own: Mapping[str, Tensor], state: Mapping[str, Tensor], num_classes: int) -> list[str]:
    """The tensors of a layer that gives one value a class, if those in the file are for another number of classes."""
    others = [
        name
        for name, values in state.items()
        if name in own
        and not is_lazy(own[name])
        and values.ndim == own[name].ndim > 0
        and values.shape[1:] == own[name].shape[1:]
        and own[name].shape[0] == num_classes != values.shape[0]
    ]
    layers = {name.rpartition(".")[0] for name in others}
    return others if len(layers) == 1 else []


def _state_in(file: Path) -> dict[str, Tensor]:
    try:
        about = file.stat()
    except OSError as error:
        raise ConfigError(f"{_SETTING}: cannot read {file} ({error.strerror or error})") from error
    return _read(file, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=1)  # several networks of a run start from one file
def _read(file: Path, _changed: int, _size: int) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return _state_of(torch.load(file, map_location="cpu", weights_only=True), file)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{_SETTING}: expected a safetensors file, or a state dict that torch.save wrote, got {file}, which cannot "
            f"be read so ({reason}); write one with torch.save(network.state_dict(), path)"
        ) from error


def _state_of(content: Any, file: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        content = next((content[name] for name in _STATES if isinstance(content.get(name), Mapping)), content)
    if not isinstance(content, Mapping) or not content or not all(isinstance(one, Tensor) for one in content.values()):
        raise ConfigError(
            f"{_SETTING}: expected a state dict of tensors in {file}, got {type(content).__name__} of something else; "
            "write one with torch.save(network.state_dict(), path)"
        )
    state = {str(name): values for name, values in content.items()}
    if all(name.startswith(_WRAPPED) for name in state):
        state = {name.removeprefix(_WRAPPED): values for name, values in state.items()}
    return state


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
