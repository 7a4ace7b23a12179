"""Outputs that a teacher or an ensemble could have given, before there are real ones."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.unbought import unbought_images
from distill_worker.training.training_set import TrainingSet, Unbought, Views
from shared.output_kinds import LABEL, LOG_PROBABILITIES, LOGITS, PROBABILITIES, TOP_K, OutputKind


def made_up(kind: OutputKind, shape: Sequence[int], samples: int) -> Tensor:
    """Outputs that a teacher could have returned, float32 `[samples, *shape]`. One value may stand for all samples."""
    values = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    if kind.name == LABEL:
        values = torch.zeros(1, *shape)
    elif kind.name == TOP_K:
        (count, _) = shape
        values = torch.stack([torch.arange(float(count)), torch.full((count,), 1 / count)], dim=1)[None]
    elif kind.name == PROBABILITIES:
        values = values.softmax(dim=1)
    elif not kind.is_features and kind.name != LOGITS:
        values = values.log_softmax(dim=1)
    return values.expand(samples, *shape)


def with_made_up_outputs(config: RunConfig, settings: SelfTraining, samples: Samples, data: TrainingSet) -> TrainingSet:
    """The training set of a student that trains itself, with made-up outputs of the ensemble."""

    def outputs(count: int) -> Tensor:
        kind = OutputKind.parse(LOG_PROBABILITIES)
        return made_up(kind, data.label_probabilities.shape[1:], count).to(data.images.device)

    if config.track == "queried":
        return replace(
            data, views=Views(lambda inputs: outputs(len(inputs)), settings.bought_share, settings.policies[-1])
        )
    images, positions = unbought_images(samples, data.images.device)
    unbought = Unbought(images, positions, outputs(len(positions)), settings.bought_share, settings.policies[-1])
    return replace(data, unbought=unbought)
