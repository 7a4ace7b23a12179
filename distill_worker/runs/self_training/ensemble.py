"""The outputs of an ensemble: the mean of its members' log-probabilities, which is a distribution again."""

from collections.abc import Iterable
from math import ceil

import torch
from torch import Tensor, nn

from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.errors import TrainingDiverged
from distill_worker.training.evaluate import images_a_pass
from distill_worker.training.network.errors import training_errors
from distill_worker.training.precision import StudentPass
from shared.networks.draws import draws_from

_SEED = 0
"""For the networks that draw even in evaluation mode."""


class Ensemble:
    """Trained networks that see the views of images that a student sees."""

    def __init__(self, networks: Iterable[nn.Module], training: Training, device: torch.device) -> None:
        """The networks compute in the precision of the training, on the device."""
        self._passes = [_labelling_pass(network, training, device) for network in networks]

    def __call__(self, inputs: Tensor) -> Tensor:
        """`log_softmax(mean over the networks of log_softmax(logits))` of normalised images, without a gradient.

        float32 `[batch, channels, height, width]` to `[batch, classes]`.
        """
        with torch.no_grad():
            outputs = [passed(inputs)[0].log_softmax(dim=1) for passed in self._passes]
            return torch.stack(outputs).mean(dim=0).log_softmax(dim=1)


def sharpened(log_probabilities: Tensor, factor: float) -> Tensor:
    """`log_softmax(factor * log_probabilities)`, `[samples, classes]`; with the factor 1, as they are."""
    return log_probabilities if factor == 1 else (factor * log_probabilities).log_softmax(dim=1)


def least_sure(log_probabilities: Tensor, share: float) -> Tensor:
    """The rows, in their order, whose two largest probabilities differ least, int64 `[about share * samples]`.

    Args:
        log_probabilities: `[samples, classes]`.
        share: of the samples, above 0 and at most 1; at least one row is given.
    """
    first, second = log_probabilities.topk(2, dim=1).values.exp().unbind(dim=1)
    rows = (first - second).argsort(stable=True)[: ceil(share * len(log_probabilities))]
    return rows.sort().values


def mean_log_probabilities(
    networks: Iterable[nn.Module],
    images: Tensor,
    positions: Tensor,
    preprocessing: Preprocessing,
    training: Training,
) -> Tensor:
    """`log_softmax(mean over the networks of log_softmax(logits))` of images that are not augmented.

    The networks compute in the precision of the training, on the device of the images.

    Args:
        networks: at least one.
        images: uint8 `[images, channels, height, width]`.
        positions: int64 `[samples]`, of the samples among the images.
        preprocessing: what the networks were trained with.
        training: the settings of their training.

    Returns:
        float32 `[samples, classes]`, on the CPU.

    Raises:
        ConfigError: a network fails.
        TrainingDiverged: an output is not finite.
    """
    outputs = [_log_probabilities(network, images, positions, preprocessing, training) for network in networks]
    mean = torch.stack(outputs).mean(dim=0).log_softmax(dim=1).cpu()
    if not mean.isfinite().all():
        raise TrainingDiverged(
            "self_training: expected finite outputs of the ensemble, got others: the last step of a member's training "
            "diverged; lower training.learning_rate and start again with --fresh, which buys nothing twice"
        )
    return mean


def _log_probabilities(
    network: nn.Module, images: Tensor, positions: Tensor, preprocessing: Preprocessing, training: Training
) -> Tensor:
    passed = _labelling_pass(network, training, images.device)
    with training_errors("a member of the ensemble to label images"), draws_from(_SEED), torch.inference_mode():
        return torch.cat(
            [
                passed(preprocessing.normalised(images[part]))[0].log_softmax(dim=1)
                for part in torch.split(positions, images_a_pass(images))
            ]
        )


def _labelling_pass(network: nn.Module, training: Training, device: torch.device) -> StudentPass:
    """The forward pass of the training, not compiled, in evaluation mode."""
    return StudentPass(network.eval(), (), training.model_copy(update={"compile": False}), device)
