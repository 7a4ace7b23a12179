"""Everything that a run's result depends on, which makes it this run: its configuration, its data and its code.

Neither the teacher's address nor the paths of files count, only what is in them. Of a network from a factory, and of a
module that is given in Python, the first weights count too: the factory may read them from a file.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.digest import digest
from distill_worker.errors import ConfigError
from distill_worker.runs.sampling.samples import Samples, preprocessing
from distill_worker.runs.self_training.assistant import outside_weights
from distill_worker.training.network.first_weights import load_first_weights
from distill_worker.training.network.frozen import check_trainable
from shared.networks import build_network, runs_code, source_digest
from shared.networks.draws import draws_from, kept_draws
from shared.networks.given import given_digest, is_given
from shared.networks.outputs import check_network


def identity_of(config: RunConfig, samples: Samples, facts: dict[str, Any], *, ranks: int = 1) -> RunIdentity:
    """The identity of a run.

    Args:
        config: the run.
        samples: of the run.
        facts: about the teacher's outputs, JSON-able.
        ranks: how many processes train the student together.

    Raises:
        ConfigError: the code of the network cannot be read, or the network cannot be built.
    """
    identity = config.identity | {"samples": samples.digest(), **facts, **outside_weights.identity_facts(config)}
    code_facts = _code_facts(config, samples.dataset) | _member_facts(config, samples.dataset)
    identity = identity.with_later_facts(_data_facts(config, samples) | code_facts)
    if ranks == 1:  # as in every run of an earlier version
        return identity.with_later_facts({"ranks": 1, "batch_norm": "synchronised"})
    return identity | {"ranks": ranks, "batch_norm": config.training.batch_norm}


def first_student(config: RunConfig, dataset: Dataset) -> nn.Module:
    """The student before its first step, on the CPU; draws from the global generators what no file of weights has.

    Raises:
        ConfigError: it cannot be built, or cannot be trained on such images.
    """
    channels, classes = dataset.image_shape[0], len(dataset.class_names)
    try:
        network = build_network(config.student.network_to_build, num_classes=classes, in_channels=channels)
        if config.student.weights is not None:
            load_first_weights(network, config.student.weights, num_classes=classes)
        check_network(network, config.student.input_shape(dataset.image_shape), classes)
        check_trainable(network)
    except ValueError as error:
        raise ConfigError(f"student.{error}") from error
    return network


def notes_of_weights(config: RunConfig, dataset: Dataset) -> list[str]:
    """A line for the user: which weights the student starts from, if it has some, and which of its own stay as drawn.

    Raises:
        ConfigError: see `first_student`.
    """
    file, name = config.student.weights, config.student.network
    if file is None:
        outside = ", which count as outside weights" if config.student.has_outside_weights else ""
        return [f"the student starts from the weights of the module {name}{outside}"] if is_given(name) else []
    channels, classes = dataset.image_shape[0], len(dataset.class_names)
    with kept_draws():
        network = build_network(config.student.network_to_build, num_classes=classes, in_channels=channels)
    left_out = load_first_weights(network, file, num_classes=classes)
    drawn = f", but for {', '.join(left_out)}, which are of another number of classes and are drawn" if left_out else ""
    return [f"the student starts from the weights in {file.name}{drawn}"]


def target_facts(targets: Mapping[str, Tensor]) -> dict[str, Any]:
    """The outputs that the student learns from, as they are read: completed, and in the order of the data's classes."""
    return {"targets": digest(*(targets[kind] for kind in sorted(targets)))} if targets else {}


def _data_facts(config: RunConfig, samples: Samples) -> dict[str, Any]:
    """What the result depends on beside the chosen samples, which have a digest of their own."""
    dataset, view, pool = samples.dataset, preprocessing(samples.dataset, config), samples.pool(config)
    facts: dict[str, Any] = {
        "class_names": list(dataset.class_names),
        "preprocessing": {
            "mean": list(view.mean),
            "std": list(view.std),
            "crop_padding": view.crop_padding,
            "horizontal_flip": view.horizontal_flip,
        },
        **config.data.rule_facts,
        "test_images": dataset.test.digest(),
        **({} if dataset.test.labels is None else {"test_labels": digest(dataset.test.labels)}),
    }
    if pool is not None:
        facts["pool"] = digest(pool.images, *([] if pool.labels is None else [pool.labels]))
    if config.self_training is not None and config.track != "queried":
        facts["pool"] = digest(dataset.train.images, torch.tensor(samples.unbought))
    if samples.validation and samples.labels is not None:
        facts["validation"] = digest(dataset.train.images[samples.validation], samples.labels[samples.validation])
    return facts


def _code_facts(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    name = config.student.network_to_build
    if not (runs_code(name) or is_given(name)):
        return {}
    try:
        source = given_digest(name) if is_given(name) else source_digest(name)
    except ValueError as error:
        raise ConfigError(f"student.{error}") from error
    with draws_from(config.training.seed):
        state = first_student(config, dataset).state_dict()
    return {"network_source": source, "first_weights": digest(*(_bytes(state[key]) for key in sorted(state)))}


def _member_facts(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """The code of the networks that help to train the student, if they are others than the student."""
    settings = config.self_training
    if settings is None or settings.network is None:
        return {}
    member = config.model_copy(update={"student": settings.student(config.student)})
    return {f"member_{name}": value for name, value in _code_facts(member, dataset).items()}


def _bytes(values: Tensor) -> Tensor:
    """The values as bytes; of any type, also those that NumPy lacks."""
    return values.contiguous().flatten().view(torch.uint8)
