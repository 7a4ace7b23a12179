"""The images that an ensemble labels: those of the pool, or mixtures of the bought ones."""

import torch
from torch import Tensor

from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.errors import ConfigError
from distill_worker.methods.mixup import Mixup
from distill_worker.methods.terms.mixup import rounded_mixtures
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.members import derived_seed


def check_self_training(config: RunConfig, samples: Samples, *, ranks: int) -> None:
    """Check that a run can train itself, if it is to.

    Raises:
        ConfigError: several processes train the student, or no sample is left to be labelled.
    """
    if config.self_training is None:
        return
    if ranks > 1:
        raise ConfigError(
            f"self_training: expected one process, got {ranks} ranks, which train one network together; start the "
            "command without torchrun"
        )
    if config.self_training.has_pool and not samples.unbought:
        raise ConfigError(
            "self_training: expected samples that are neither bought nor for validation, got none; lower budget.n, or "
            "leave out [self_training]"
        )


def unbought_images(
    config: RunConfig, settings: SelfTraining, samples: Samples, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Images, uint8, and the positions of the unbought ones among them, int64, on a device.

    They are the training images, of which none is copied; or mixtures of the bought images.
    """
    if settings.has_pool:
        return samples.dataset.train.images.to(device), torch.tensor(samples.unbought, device=device)
    bought = slice(len(samples.chosen))  # behind them are the mixtures that were bought, if any
    method = Mixup(targets="requeried", mixtures=settings.mixtures)
    seed = derived_seed(config.training.seed, "mixtures")
    images, _ = rounded_mixtures(method, samples.images[bought], samples.label_probabilities[bought], seed=seed)
    return images.to(device), torch.arange(len(images), device=device)
