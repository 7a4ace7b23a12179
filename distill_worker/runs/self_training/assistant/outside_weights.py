"""Weights from elsewhere that help a run: those of the assistant, and those that the student starts from.

A module that is given in Python counts if its name says that it is pretrained: its weights are part of the identity
as first weights, see `run_facts`. This module says what identities and results hold of all of these.
"""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.data.selection.features import features_of, weights_at
from distill_worker.errors import ConfigError
from distill_worker.training.network.first_weights import digest_of

_SETTING: Final = "self_training.assistant"
_FACT: Final = "outside_weights"
_STUDENT_FACT: Final = "student_weights"


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
    """What a run's identity holds of the files: the fingerprint of an assistant's, and the digest of the student's.

    Nothing without such files. Raises `ConfigError`.
    """
    facts = {} if config.assistant is None else {_FACT: fingerprint(config.assistant)}
    weights = config.student.weights
    return facts if weights is None else facts | {_STUDENT_FACT: digest_of(weights)}


def facts_of(config: RunConfig, identity: RunIdentity) -> dict[str, Any]:
    """What a result and a student's card hold of the files, JSON-able: names and digests; nothing without any."""
    facts: dict[str, Any] = {}
    if config.assistant is not None:
        facts[_FACT] = {"file": config.assistant.name, "fingerprint": identity.values[_FACT]}
    if (weights := config.student.weights) is not None:
        facts[_STUDENT_FACT] = {"file": weights.name, "digest": identity.values[_STUDENT_FACT]}
    elif config.student.has_outside_weights:
        facts[_STUDENT_FACT] = {"module": config.student.network, "digest": identity.values["first_weights"]}
    return facts
