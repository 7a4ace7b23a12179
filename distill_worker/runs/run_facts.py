"""Everything that a run's result depends on, which makes it this run: its configuration, its data and its code.

Neither the teacher's address nor the paths of files count, only what is in them.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from torch import Tensor

from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.errors import ConfigError
from distill_worker.runs.samples import Samples, preprocessing
from shared.networks import source_digest


def identity_of(config: RunConfig, samples: Samples, facts: dict[str, Any]) -> RunIdentity:
    """The identity of a run.

    Args:
        config: the run.
        samples: of the run.
        facts: about the teacher's outputs, JSON-able.

    Raises:
        ConfigError: the code of the network cannot be read.
    """
    identity = config.identity | {"samples": samples.digest(), **facts}
    return identity.with_later_facts(_data_facts(config, samples) | _code_facts(config.student.network_to_build))


def target_facts(targets: Mapping[str, Tensor]) -> dict[str, Any]:
    """The outputs that the student learns from, as they are read: completed, and in the order of the data's classes."""
    return {"targets": _digest(*(targets[kind] for kind in sorted(targets)))} if targets else {}


def _data_facts(config: RunConfig, samples: Samples) -> dict[str, Any]:
    """What the result depends on beside the chosen samples, which have a digest of their own."""
    dataset, view, pool = samples.dataset, preprocessing(samples.dataset, config), samples.pool(config.track)
    facts: dict[str, Any] = {
        "class_names": list(dataset.class_names),
        "preprocessing": {
            "mean": list(view.mean),
            "std": list(view.std),
            "crop_padding": view.crop_padding,
            "horizontal_flip": view.horizontal_flip,
        },
        "test_images": _digest(dataset.test.images),
        "test_labels": _digest(dataset.test.labels),
    }
    if pool is not None:
        facts["pool"] = _digest(pool.images, *([] if pool.labels is None else [pool.labels]))
    if samples.validation:
        facts["validation"] = _digest(dataset.train.images[samples.validation], samples.labels[samples.validation])
    return facts


def _code_facts(network: str) -> dict[str, Any]:
    try:
        digest = source_digest(network)
    except ValueError as error:
        raise ConfigError(f"student.{error}") from error
    return {} if digest is None else {"network_source": digest}


def _digest(*tensors: Tensor) -> str:
    """A hash of the values, 16 hexadecimal digits."""
    digest = sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)}:".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:16]
