"""Reading a checkpoint: a pickled file is loaded without running code, unless its author is trusted."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from shared.networks.foreign import described, importable
from shared.weights import WeightsError
from teacher_service.models.file_kind import FileKind


def load_checkpoint(path: Path, kind: FileKind, *, trust_pickle: bool) -> Mapping[str, Any] | nn.Module:
    """What a checkpoint holds, on the CPU: a mapping with tensors in it, at some depth, or a whole network.

    Args:
        path: the file.
        kind: of the file: pickled, or safetensors.
        trust_pickle: whether the file may run code when it is unpickled.

    Raises:
        WeightsError: it cannot be read, holds something else, or would run code that is not trusted.
    """
    if kind is not FileKind.CHECKPOINT:
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path}: expected a safetensors file, got one that cannot be read ({error})") from error
    loaded = _unpickled(path, trust_pickle=trust_pickle)
    if isinstance(loaded, nn.DataParallel):
        loaded = loaded.module
    if not isinstance(loaded, Mapping | nn.Module):
        raise WeightsError(
            f"{path}: expected a state dict or a network, got {type(loaded).__name__}; save network.state_dict()"
        )
    return loaded


def _unpickled(path: Path, *, trust_pickle: bool) -> Any:
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # advice to the author of the file
            if not trust_pickle:
                return torch.load(file, map_location="cpu", weights_only=True)
            with importable([str(Path.cwd())]):  # the class of a network may be the user's own
                return torch.load(file, map_location="cpu", weights_only=False)
    except pickle.UnpicklingError as error:
        if trust_pickle:
            raise _damaged(path, error) from error
        raise WeightsError(
            f"{path}: expected a pickled file that holds tensors alone, got one that also holds {_unsafe(error)}. "
            "Unpickling that runs code which the file's author chose: pass --trust-pickle if you trust the author, or "
            "save torch.save(network.state_dict(), ...) where the file was made"
        ) from error
    except Exception as error:  # a damaged pickle may raise anything, and so may the classes in a trusted one
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path}: the pickled file cannot be loaded ({described(error)})")


def _unsafe(error: pickle.UnpicklingError) -> str:
    """The name of the first object that the safe unpickler rejects, from its message."""
    words = str(error).partition("GLOBAL ")[2].split()
    return f"{words[0]}" if words else "other objects"


def is_state_dict(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    """Whether this is a mapping from names to tensors."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )
