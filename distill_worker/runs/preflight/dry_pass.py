"""The dry pass: one training step of a run on made-up outputs, before the real ones are bought.

It builds the student that the run will train, and does everything that training will do with it: the forward and
backward pass of a batch through the run's own objective, the evaluation of a batch and of one image, the weights file.
Then it reads that file as `evaluate` will, and compares the logits of both networks.

Invariant: it writes nothing, and the run's result is the same with and without it.
"""

from collections.abc import Mapping
from typing import Final

import torch
from safetensors.torch import load
from torch import Tensor, nn

from distill_worker.config.run_config import RunConfig
from distill_worker.data.selection.features import outputs_of
from distill_worker.errors import ConfigError
from distill_worker.runs.resolution import device_of
from distill_worker.runs.sampling.on_device import training_set
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.made_up import with_made_up_outputs
from distill_worker.runs.self_training.members import configs_of_members
from distill_worker.runs.student import initialised, placed
from distill_worker.runs.train_student import card_of
from distill_worker.training.evaluate import log_probabilities_of
from distill_worker.training.loop import take_first_step
from distill_worker.training.network.errors import translated_errors
from distill_worker.training.teacher_logits import TeacherLogits
from distill_worker.training.training_set import TrainingSet
from shared.networks.draws import draws_from, kept_draws
from shared.networks.outputs import logits_of
from shared.normalise import normalise
from shared.weights import network_of, weights_bytes

_COMPARED: Final = 4
"""Images whose logits are compared."""
_TOLERANCE: Final = 1e-3
"""Of the largest logit: a network whose weights lie in memory in another order sums in another order."""


def dry_pass(config: RunConfig, samples: Samples, teacher: TeacherLogits) -> int:
    """Take the first step of a training, evaluate images, and throw the student away.

    Args:
        config: the run; in rounds, its last one. With self-training, a member of the ensemble is tried first.
        samples: of the training.
        teacher: made-up outputs for all of them.

    Returns:
        The size of its weights file; with self-training, of the largest one.

    Raises:
        ConfigError: the network cannot be trained on these data and outputs.
    """
    data = training_set(config, samples, teacher.targets, device_of(config.training.device))
    if config.self_training is None:
        return _tried(config, samples, data, teacher)
    try:
        size = _tried(configs_of_members(config, config.self_training, 1)[0], samples, data, teacher)
    except ConfigError as error:
        raise ConfigError(f"self_training: a member of the ensemble: {error}") from error
    data = with_made_up_outputs(config, config.self_training, samples, data)
    return max(size, _tried(config, samples, data, teacher))


def _tried(config: RunConfig, samples: Samples, data: TrainingSet, teacher: TeacherLogits) -> int:
    dataset = samples.dataset
    shape = list(config.student.input_shape(dataset.image_shape))
    expected = f"{config.student.network} to train on images of shape {shape} in {len(dataset.class_names)} classes"
    with kept_draws(), translated_errors(expected):
        return _pass(config, samples, data, teacher)


def _pass(config: RunConfig, samples: Samples, data: TrainingSet, teacher: TeacherLogits) -> int:
    dataset, device = samples.dataset, data.images.device
    network, objective = initialised(config, dataset, data)
    initial = {name: values.clone() for name, values in network.state_dict().items()}
    network, objective = placed(network, config.training, device), objective.to(device)
    take_first_step(network, objective, data, config.training)
    judged = dataset.test.images if dataset.has_test else dataset.train.images
    for size in (config.training.batch_size, 1):
        log_probabilities_of(
            network, judged[:size].to(device), mean=dataset.mean, std=dataset.std, resize=config.student.image_size
        )
    card = card_of(config, dataset, None, teacher)
    if config.budget.rounds > 1:
        outputs_of(network, card, dataset.train.images[:1])
    again, _ = initialised(config, dataset, data)
    _check_same_weights(config, initial, again.state_dict())
    content = weights_bytes(network, card)
    with translated_errors(
        f"{config.student.network} to load its weights file into a new network",
        "; make every parameter and buffer in __init__, in the shape that it keeps",
    ):
        loaded = network_of(card, load(content), config.student.network_to_build).to(device)
    images = judged[:_COMPARED].to(device)
    inputs = normalise(images, dataset.mean, dataset.std, size=config.student.image_size)
    _check_same_logits(config, network, loaded, inputs)
    return len(content)


def _check_same_weights(config: RunConfig, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Check that a network has the weights of the first when it is built again, after a step of the first."""
    for name, values in second.items():
        if values.flatten().view(torch.uint8).ne(first[name].flatten().view(torch.uint8)).any():
            raise ConfigError(
                f"student.network: expected {config.student.network} to have the same weights whenever it is built "
                f"from one seed, got others in {name!r}; make a new network at each call, and draw its weights in the "
                "factory, from torch's, Python's or NumPy's global generator"
            )


def _check_same_logits(config: RunConfig, trained: nn.Module, loaded: nn.Module, images: Tensor) -> None:
    """Check that a network that was read from its weights file gives the logits of the one that was written."""
    logits = []
    for network in (trained, loaded):
        network.eval()
        with draws_from(0), torch.inference_mode():
            logits.append(logits_of(network(images)).double().nan_to_num())
    difference = (logits[0] - logits[1]).abs().max().item()
    if difference > _TOLERANCE * logits[0].abs().max().item():
        raise ConfigError(
            f"student.network: expected {config.student.network} to give the same logits when it is loaded from its "
            f"weights file, got others (by up to {difference:.3g}); keep all that its "
            "logits depend on in parameters or buffers, or draw it from torch's, Python's or NumPy's global generator "
            "in the factory"
        )
