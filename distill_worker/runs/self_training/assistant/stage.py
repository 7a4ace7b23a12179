"""The assistant of a run: predictions from the features of a network that was trained on other data.

    self-training/assistant/assistant.safetensors   its outputs, of each estimator
    self-training/assistant/fold-1/                 the run directory of a member that was trained without a fold
    self-training/assistant/held-out.safetensors    what these members say of the folds that they lack

Invariant: the weight of the assistant follows from bought outputs alone, each of which was held out from what predicts
it. It is 0 unless the mixture with the ensemble is nearer to them than the ensemble alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, counted
from distill_worker.methods.base import LOGITS
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.assistant.cross_fitting import cross_fitted
from distill_worker.runs.self_training.assistant.divergence import Mixture, best_mixture, best_scale, divergence
from distill_worker.runs.self_training.assistant.outside_weights import features
from distill_worker.runs.self_training.assistant.predictions import Predictions
from distill_worker.runs.self_training.assistant.propagation import propagated
from distill_worker.runs.self_training.assistant.ridge import ridge_predictions
from distill_worker.runs.self_training.members import Members, labelled
from distill_worker.runs.self_training.outputs_file import OutputsFile
from distill_worker.runs.student import check_methods
from distill_worker.runs.tuning.folds import fold_of
from distill_worker.training.directory.run_directory import SELF_TRAINING
from distill_worker.training.training_set import TrainingSet


@dataclass(frozen=True)
class Assistant:
    """What it says of the pool, and how much that counts."""

    log_probabilities: Tensor
    """float32 `[pool, classes]`, on the CPU."""
    mixture: Mixture
    """Of the ensemble's outputs and these."""
    facts: dict[str, Any]
    """For the result; JSON-able."""
    reason: str
    """Its weight and why it was chosen, in one line."""

    @property
    def labels_alone(self) -> bool:
        """Whether the ensemble's outputs do not count."""
        return self.mixture.weight == 1

    def labels(self, ensemble: Tensor) -> Tensor:
        """The outputs of the pool, from those of an ensemble, float32 `[pool, classes]`."""
        return self.mixture.of(ensemble, self.log_probabilities)


def check_assistant(config: RunConfig, samples: Samples) -> None:
    """Check that the assistant's file fits the images, and that its folds have enough samples, if there is one.

    Raises:
        ConfigError: it does not, or they have not.
    """
    settings = config.self_training
    if settings is None or settings.assistant is None:
        return
    count = len(samples.images)
    if count < settings.folds:
        raise ConfigError(
            f"self_training.assistant: expected at least {counted(settings.folds, 'bought sample')}, which are divided "
            f"into folds, got {count}; buy more, or leave it out"
        )
    try:
        fewest = count - -(-count // settings.folds)
        check_methods(config, num_classes=len(samples.dataset.class_names), samples=fewest)
    except ConfigError as error:
        raise ConfigError(
            f"self_training.assistant: a member without a fold has {counted(fewest, 'sample')}: {error}"
        ) from error
    features(settings.assistant, samples.dataset.train.images[:1])


def assistant_of(
    members: Members, keys: Sequence[bytes], data: TrainingSet, images: Tensor, positions: Tensor
) -> Assistant | None:
    """The assistant of a run, or None if it has none.

    Args:
        members: of the run.
        keys: the sample key of each row of the data.
        data: the bought samples.
        images: uint8 `[images, channels, height, width]`, with those of the pool among them.
        positions: int64 `[pool]`, of the pool.

    Raises:
        ConfigError: the file does not fit, or a member cannot be trained.
        RunError: the run directory cannot be used.
    """
    file, folds = members.settings.assistant, members.settings.folds
    if file is None:
        return None
    folder = members.config.output.directory / SELF_TRAINING / "assistant"
    teacher = data.targets[LOGITS].cpu().double().log_softmax(dim=1)
    fold_of_row = torch.tensor(fold_of(keys, folds, members.config.training.seed))
    parts = [(fold_of_row == fold).nonzero().flatten() for fold in range(folds)]

    def make() -> Tensor:
        of_bought, of_pool = _standardised(features(file, data.images), features(file, images)[positions.cpu()])
        by_ridge, left_out = ridge_predictions(teacher, of_bought, of_pool, parts)
        return torch.cat([left_out, *by_ridge, *propagated(teacher, of_bought, of_pool, parts)])

    made = labelled(OutputsFile(folder / "assistant.safetensors", members.identity), [], make)
    left_out, *predictions = torch.split(made, [len(data), *2 * (len(data), len(positions))])
    estimators = {"ridge": Predictions(*predictions[:2]), "propagation": Predictions(*predictions[2:])}
    divergences = {
        name: best_scale(teacher, estimator.held_out.double()).divergence for name, estimator in estimators.items()
    }
    best = min(divergences, key=lambda name: divergences[name])
    of_members = cross_fitted(members, folder, parts, data).double()
    mixture, together = best_mixture(teacher, of_members, estimators[best].held_out.double())
    divergences |= {"members": best_scale(teacher, of_members).divergence, "together": together}
    facts = {
        "estimator": best,
        "weight": mixture.weight,
        "held_out_divergence": divergences,
        "leave_one_out_divergence": divergence(teacher, left_out.double()),
    }
    return Assistant(estimators[best].pool, mixture, facts, _reason(file.name, best, mixture.weight, divergences))


def _standardised(bought: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the mean 0 and the deviation 1 of all of them; a constant feature becomes 0."""
    deviation, mean = torch.std_mean(torch.cat([bought, pool]), dim=0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1)
    return (bought - mean) / deviation, (pool - mean) / deviation


def _reason(name: str, estimator: str, weight: float, divergences: dict[str, float]) -> str:
    who = f"the assistant labels the pool with the ensemble, with weight {weight:g}"
    if weight in (0, 1):
        who = f"{'the assistant' if weight else 'the ensemble'} labels the pool alone"
    return (
        f"self-training: {who}: on held-out bought outputs, the mean divergence from the teacher is "
        f"{divergences[estimator]:.4f} nats for the assistant ({estimator} on the features of {name}), "
        f"{divergences['members']:.4f} for a member and {divergences['together']:.4f} for this mixture"
    )
