"""One student from its configuration: samples, what was bought, training, result. The order of things, nothing else."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.data.datasets import Dataset, Split
from distill_worker.errors import ConfigError
from distill_worker.methods import Objective, Setting, method_name, why_not_with
from distill_worker.methods.base import LOGITS
from distill_worker.methods.representation import FEATURES
from distill_worker.runs.samples import Samples, preprocessing
from distill_worker.training.evaluate import count_correct
from distill_worker.training.loop import Progress, Validated, most_steps, train
from distill_worker.training.run_directory import RunDirectory
from distill_worker.training.teacher_logits import Completed, completed
from distill_worker.training.training_set import TrainingSet
from shared.networks import build_network
from shared.networks.taps import feature_shapes
from shared.weights import WeightsCard, weights_bytes


def train_student(
    config: RunConfig,
    samples: Samples,
    targets: Mapping[str, torch.Tensor],
    teacher_id: str | None,
    *,
    progress: Progress = lambda _step, _loss: None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Train the configured student, going on from what its run directory holds; the result as JSON-able facts.

    `targets` are the bought outputs by kind, row by row as `samples.keys`; empty when no method asks a teacher.

    Raises:
        ConfigError: what was bought is not what a method can learn from, or this machine cannot do what is asked.
        WorkerError: see `completed`; RunError: see `RunDirectory`.
    """
    training = config.training
    told = completed(targets, len(samples.dataset.class_names), label_smoothing=config.teacher.label_smoothing)
    if told.output is not None and (reason := why_not_with(config.methods, told.output)) is not None:
        raise ConfigError(f"method: {reason}")
    device = device_of(training.device)
    torch.set_num_threads(training.threads)
    directory = RunDirectory(config.output.directory)
    with directory.opened(_identity(config, samples, teacher_id, told), fresh=fresh):
        if (known := directory.result()) is not None:
            return known
        started = time.perf_counter()
        data = _training_set(config, samples, told.targets, device)
        network, objective = _made(config, samples.dataset, data)
        if training.channels_last:
            network = network.to(memory_format=torch.channels_last)
        best = train(network.to(device), objective.to(device), data, training, directory, progress)
        weights = weights_bytes(network, _card(config, samples.dataset, teacher_id, told))
        test = samples.dataset.test
        correct = _count(network, data, test.images.to(device), test.labels.to(device))
        result = {
            "method": "+".join(method_name(method) for method in config.methods),
            "track": config.track,
            "data": samples.dataset.name,
            "network": config.student.network,
            "n": len(samples.chosen),
            "calls": len(samples.wanted) if config.needs_teacher else 0,
            "protocol": training.protocol,
            "seed": training.seed,
            "steps": most_steps(training, len(data)),
            "teacher_id": teacher_id,
            "teacher_output": told.output,
            "completion": told.rule,
            "accuracy": correct / len(test.labels),
            "correct": correct,
            "test_samples": len(test.labels),
            "best_validation": _best(best, network, data, test),
            "seconds": round(time.perf_counter() - started, 3),
            "device": str(device),
        }
        directory.finish(weights, result)
        return result


def _best(best: Validated | None, network: torch.nn.Module, data: TrainingSet, test: Split) -> dict[str, Any] | None:
    """The test accuracy of the weights with the best validation accuracy, beside the last ones that are reported."""
    if best is None:
        return None
    network.load_state_dict(best.network)
    device = data.images.device
    correct = _count(network, data, test.images.to(device), test.labels.to(device))
    return {
        "step": best.step,
        "validation_accuracy": best.accuracy,
        "accuracy": correct / len(test.labels),
    }


def _count(network: torch.nn.Module, data: TrainingSet, images: torch.Tensor, labels: torch.Tensor) -> int:
    return count_correct(network, images, labels, mean=data.preprocessing.mean, std=data.preprocessing.std)


def _identity(config: RunConfig, samples: Samples, teacher_id: str | None, told: Completed) -> RunIdentity:
    """Everything that a result depends on: not where the teacher lives, nor where files are kept."""
    said = {} if told.output in (None, LOGITS) else {"teacher_output": told.output, "completion": told.rule}
    return config.identity | {"samples": samples.digest(), "teacher_id": teacher_id, **said}


def _training_set(
    config: RunConfig, samples: Samples, targets: Mapping[str, torch.Tensor], device: torch.device
) -> TrainingSet:
    chosen, held_out = torch.tensor(samples.chosen), torch.tensor(samples.validation, dtype=torch.int64)
    train_split, pool = samples.dataset.train, samples.pool(config.track)
    return TrainingSet(
        images=samples.images.to(device),
        label_probabilities=samples.label_probabilities.to(device),
        labels=samples.labels[chosen].to(device) if len(samples.images) == len(chosen) else None,
        preprocessing=preprocessing(samples.dataset, config),
        targets={kind: outputs.to(device) for kind, outputs in targets.items()},
        pool=None if pool is None else pool.to(device),
        validation=(train_split.images[held_out].to(device), samples.labels[held_out].to(device))
        if samples.validation
        else None,
    )


def _made(config: RunConfig, dataset: Dataset, data: TrainingSet) -> tuple[torch.nn.Module, Objective]:
    """The student and its objective, both initialised from the run's seed."""
    classes = len(dataset.class_names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        try:
            network = build_network(config.student.network, num_classes=classes, in_channels=dataset.image_shape[0])
        except ValueError as error:
            raise ConfigError(f"student.{error}") from error
        layers = tuple(dict.fromkeys(layer for method in config.methods for layer in method.student_layers))
        try:
            shapes = feature_shapes(network, dataset.image_shape, layers)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"student.network: {config.student.network} on {dataset.name}: {error}") from error
        setting = Setting(
            num_classes=classes,
            steps=most_steps(config.training, len(data)),
            student_shapes={LOGITS: (classes,)} | {FEATURES + layer: shape for layer, shape in shapes.items()},
            targets={kind: outputs.cpu() for kind, outputs in data.targets.items()},
        )
        return network, Objective(config.methods, setting)


def _card(config: RunConfig, dataset: Dataset, teacher_id: str | None, told: Completed) -> WeightsCard:
    channels, height, width = dataset.image_shape
    return WeightsCard(
        network=config.student.network,
        num_classes=len(dataset.class_names),
        in_channels=channels,
        image_size=(height, width),
        mean=dataset.mean,
        std=dataset.std,
        class_names=dataset.class_names,
        provenance={
            "data": dataset.name,
            "n": config.budget.n,
            "track": config.track,
            "methods": [method.model_dump(mode="json") for method in config.methods],
            "seed": config.training.seed,
            "steps": config.training.steps,
            "teacher_id": teacher_id,
            "teacher_output": told.output,
            "completion": told.rule,
        },
    )


def device_of(name: str) -> torch.device:
    """The device that `training.device` means here. Raises `ConfigError`."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError('training.device: expected a CUDA device, found none; use "auto" or "cpu"')
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
