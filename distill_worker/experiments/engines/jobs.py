"""How many students this machine can train at the same time."""

import torch

from distill_worker.config.training_section import Training
from distill_worker.data.cores import cores
from distill_worker.runs.resolution import device_of


def default_jobs(training: Training) -> int:
    """One student for each GPU that `training.device` means; without one, for each `training.threads` cores.

    Raises:
        ConfigError: this machine lacks the device.
    """
    return gpus(training) or max(1, cores() // training.threads)


def gpus(training: Training) -> int:
    """The GPUs that `training.device` means. Raises `ConfigError` if this machine lacks the device."""
    return torch.cuda.device_count() if device_of(training.device).type == "cuda" else 0
