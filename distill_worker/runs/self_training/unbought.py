"""The images that an ensemble labels: the training images that are neither bought nor for validation."""

import torch
from torch import Tensor

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.assistant.stage import check_assistant


def check_self_training(config: RunConfig, samples: Samples, *, ranks: int, later: int = 0) -> None:
    """Check that a run can train itself, if it is to.

    Args:
        config: the run.
        samples: selected so far.
        ranks: how many processes train the student together.
        later: how many samples later rounds select.

    Raises:
        ConfigError: several processes train the student, no sample will be left to be labelled, or the assistant's
            weights file is not for these images.
    """
    if config.self_training is None:
        return
    if ranks > 1:
        raise ConfigError(
            f"self_training: expected one process, got {ranks} ranks, which train one network together; nothing "
            f"was spent. Start the command without torchrun{_or_name_a_method(config)}"
        )
    if config.track == "unlabelled-pool" and len(samples.unbought) <= later:
        raise ConfigError(
            "self_training: expected samples that are neither bought nor for validation, got none; lower budget.n, or "
            "set track = 'queried'"
        )
    check_assistant(config, samples)


def _or_name_a_method(config: RunConfig) -> str:
    """The other remedy, if the file does not state the section."""
    chosen = "self_training" in config.chosen_by_auto
    return ", or name a method in the file, because 'auto' chose [self_training]" if chosen else ""


def unbought_images(samples: Samples, device: torch.device) -> tuple[Tensor, Tensor]:
    """All training images, uint8, of which none is copied; and the positions of the unbought ones among them, int64."""
    return samples.dataset.train.images.to(device), torch.tensor(samples.unbought, device=device)
