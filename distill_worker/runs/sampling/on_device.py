"""The samples of a run with the teacher's outputs, on the device that trains."""

from collections.abc import Mapping

import torch

from distill_worker.config.run_config import RunConfig
from distill_worker.methods.base import LOGITS
from distill_worker.runs.sampling.samples import Samples, preprocessing
from distill_worker.training.training_set import TrainingSet


def training_set(
    config: RunConfig, samples: Samples, targets: Mapping[str, torch.Tensor], device: torch.device
) -> TrainingSet:
    """The samples and the teacher's outputs, by kind, on the device that trains."""
    train_split, pool = samples.dataset.train, samples.pool(config)
    probabilities, labels = _labels(samples, targets)
    validation = torch.tensor(samples.validation, dtype=torch.int64)
    return TrainingSet(
        images=samples.images.to(device),
        label_probabilities=probabilities.to(device),
        labels=None if labels is None else labels.to(device),
        preprocessing=preprocessing(samples.dataset, config),
        targets={kind: outputs.to(device) for kind, outputs in targets.items()},
        pool=None if pool is None else pool.to(device),
        validation=None
        if samples.labels is None or not samples.validation
        else (train_split.images[validation].to(device), samples.labels[validation].to(device)),
    )


def _labels(samples: Samples, targets: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Probabilities of the classes, and labels if no sample is a mixture; without labels, those of the teacher.

    The cross-entropy with labels is off then, but some methods look at the likeliest class of a sample.
    """
    has_mixtures = len(samples.images) > len(samples.chosen)
    if samples.labels is None:
        probabilities = targets[LOGITS].softmax(dim=1)
        return probabilities, None if has_mixtures else probabilities.argmax(dim=1)
    return samples.label_probabilities, None if has_mixtures else samples.labels[torch.tensor(samples.chosen)]
