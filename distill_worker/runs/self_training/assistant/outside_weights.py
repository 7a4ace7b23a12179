"""The weights file of the assistant: whether it fits the run, and what identities and results hold of it."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.data.selection.features import features_of, weights_at
from distill_worker.errors import ConfigError

_SETTING: Final = "self_training.assistant"
_FACT: Final = "outside_weights"


def features(file: Path, images: Tensor) -> Tensor:
    """The features of images, uint8 `[N, channels, height, width]`: float32 `[N, d]`, on the CPU.

    Raises:
        ConfigError: the file cannot be read, or its network is not for these images.
    """
    try:
        values = torch.from_numpy(features_of(file, images, setting=_SETTING))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{_SETTING}: expected a network for these images, got an error of {file}: {reason}"
        ) from error
    if not values.isfinite().all():
        raise ConfigError(f"{_SETTING}: expected finite features, got others from {file}; name another weights file")
    return values


def fingerprint(file: Path) -> str:
    """The fingerprint of the file. Raises `ConfigError`."""
    return weights_at(file, setting=_SETTING)[2]


def identity_facts(config: RunConfig) -> dict[str, str]:
    """What a run's identity holds of the file: its fingerprint; nothing without an assistant. Raises `ConfigError`."""
    return {} if config.assistant is None else {_FACT: fingerprint(config.assistant)}


def facts_of(config: RunConfig, identity: RunIdentity) -> dict[str, Any]:
    """What a result and a student's card hold of the file, JSON-able: name and fingerprint; nothing without one."""
    if config.assistant is None:
        return {}
    return {_FACT: {"file": config.assistant.name, "fingerprint": identity.values[_FACT]}}
