"""One network and its training: it is built for a training set from the run's seed, placed on the device, and trained.

A run's student is trained so, and so is every network that helps to choose its settings or its targets.
"""

import torch

from distill_worker.config.run_config import RunConfig
from distill_worker.config.training_section import Training
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.selection.features import penultimate
from distill_worker.errors import ConfigError
from distill_worker.methods import why_not_on
from distill_worker.methods.base import LOGITS
from distill_worker.methods.representation import FEATURES
from distill_worker.methods.terms import Objective, Setting
from distill_worker.runs.run_facts import first_student
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.loop import BestWeights, Progress, most_steps, train
from distill_worker.training.ranks.group import ALONE, Ranks
from distill_worker.training.training_set import TrainingSet
from shared.networks.draws import draws_from
from shared.networks.taps import feature_shapes


def fitted(
    config: RunConfig,
    dataset: Dataset,
    data: TrainingSet,
    directory: RunDirectory,
    progress: Progress = lambda _step, _loss: None,
    *,
    start: torch.nn.Module | None = None,
    ranks: Ranks = ALONE,
) -> tuple[torch.nn.Module, BestWeights | None]:
    """Build a network and train it, or resume from the directory's checkpoint.

    Args:
        config: the network, its methods and its training, resolved.
        dataset: gives the shape of the images and the classes.
        data: what it is trained on; its images are on the device that trains.
        directory: holds the checkpoint and the metrics.
        progress: called with the step and the loss whenever they are logged.
        start: the same network with the weights that the training starts from; None: those that the run's seed draws.
        ranks: the processes that train the network together.

    Returns:
        The network with its last weights, and the best weights by validation accuracy, or None without validation.

    Raises:
        ConfigError: the network cannot be built or trained, or a method learns nothing from these data.
        RunError, RankLost: see `train`.
    """
    device = data.images.device
    network, objective = initialised(config, dataset, data)
    if start is not None:
        network.load_state_dict(start.state_dict())
    network = placed(network, config.training, device)
    return network, train(network, objective.to(device), data, config.training, directory, progress, ranks=ranks)


def initialised(config: RunConfig, dataset: Dataset, data: TrainingSet) -> tuple[torch.nn.Module, Objective]:
    """The student and its objective, initialised from the run's seed. Raises `ConfigError` if it cannot be built."""
    classes = len(dataset.class_names)
    check_methods(config, num_classes=classes, samples=len(data))
    with draws_from(config.training.seed):
        network = first_student(config, dataset)
        wanted = [layer for method in config.methods for layer in method.student_layers]
        if config.budget.needs_student:
            wanted.append(penultimate(network))
        layers = tuple(dict.fromkeys(wanted))
        try:
            shapes = feature_shapes(network, config.student.input_shape(dataset.image_shape), layers)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"student.network: {config.student.network} on {dataset.name}: {error}") from error
        setting = Setting(
            num_classes=classes,
            steps=most_steps(config.training, len(data)),
            student_shapes={LOGITS: (classes,)} | {FEATURES + layer: shape for layer, shape in shapes.items()},
            targets={kind: outputs.cpu() for kind, outputs in data.outputs.items()},
        )
        return network, Objective(config.methods, setting)


def placed(network: torch.nn.Module, training: Training, device: torch.device) -> torch.nn.Module:
    """The network on the device that trains, in the memory format of the training."""
    if training.memory_format == "channels_last":
        for values in (*network.parameters(), *network.buffers()):
            if values.ndim == 4:  # torch's own conversion fails at a tensor of five dimensions
                values.data = values.data.contiguous(memory_format=torch.channels_last)
    return network.to(device)


def check_methods(config: RunConfig, *, num_classes: int, samples: int) -> None:
    """Check that every method can learn something from so many classes, and from the batches of so many samples.

    Raises:
        ConfigError: the term of a method would have no gradient.
    """
    batch = min(config.training.batch_size, samples)
    if (reason := why_not_on(config.methods, num_classes=num_classes, batch=batch)) is not None:
        raise ConfigError(f"method: {reason}")
