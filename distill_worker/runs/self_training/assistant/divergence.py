"""How far predictions are from the teacher's distributions, and the scale and mixture that bring them nearest."""

from typing import NamedTuple

import torch
from torch import Tensor

_SCALES = torch.logspace(-1, 1, 41, dtype=torch.float64).tolist()
_WEIGHTS = torch.linspace(0, 1, 21, dtype=torch.float64).tolist()


class Scaled(NamedTuple):
    """A scale of predictions before the softmax, and the divergence with it, in nats."""

    scale: float
    divergence: float


class Mixture(NamedTuple):
    """`log_softmax(scale * ((1 - weight) * ensemble_scale * ensemble + weight * assistant))` of log-probabilities."""

    ensemble_scale: float
    weight: float
    scale: float

    def of(self, ensemble: Tensor, assistant: Tensor) -> Tensor:
        """The mixture of these log-probabilities, `[samples, classes]`; without weight, those of the ensemble."""
        if self.weight == 0:
            return ensemble
        mixed = torch.lerp(self.ensemble_scale * ensemble, assistant, self.weight)
        return (self.scale * mixed).log_softmax(dim=1)


def divergence(teacher: Tensor, outputs: Tensor) -> float:
    """The mean of KL(teacher || outputs), in nats.

    Args:
        teacher: log-probabilities, `[samples, classes]`.
        outputs: likewise.
    """
    return float((teacher.exp() * (teacher - outputs)).sum(dim=1).mean())


def best_scale(teacher: Tensor, predictions: Tensor) -> Scaled:
    """The scale s whose `log_softmax(s * predictions)` diverges least from the teacher, and that divergence.

    Ridge regression shrinks what it predicts; a method that compares directions alone leaves a student's scale open.
    """
    tried = [Scaled(s, divergence(teacher, (s * predictions).log_softmax(dim=1))) for s in _SCALES]
    return min(tried, key=lambda one: one.divergence)


def best_mixture(teacher: Tensor, ensemble: Tensor, assistant: Tensor) -> tuple[Mixture, float]:
    """The mixture that diverges least from the teacher, and that divergence.

    The ensemble gets its own best scale first. The weight is 0 unless some mixture is better than the ensemble so.
    """
    ensemble_scale = best_scale(teacher, ensemble).scale
    scaled = ensemble_scale * ensemble
    tried = {weight: best_scale(teacher, torch.lerp(scaled, assistant, weight)) for weight in _WEIGHTS}
    weight = min(tried, key=lambda weight: tried[weight].divergence)
    return Mixture(ensemble_scale, weight, tried[weight].scale), tried[weight].divergence
