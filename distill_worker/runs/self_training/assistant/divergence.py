"""How far predictions are from the teacher's distributions, and the scale and the mixture that are nearest."""

from typing import NamedTuple

import torch
from torch import Tensor

_SCALES = torch.logspace(-2, 1, 61, dtype=torch.float64).tolist()
_LEAST_SCALE = 0.1
"""Of an ensemble: one that says nothing is best with a scale near 0, and would make the assistant too sure."""
_WEIGHTS = torch.linspace(0, 1, 21, dtype=torch.float64).tolist()


class Scaled(NamedTuple):
    """A scale of predictions before the softmax, and the divergence with it, in nats."""

    scale: float
    divergence: float


class Mixture(NamedTuple):
    """`log_softmax((1 - weight) * ensemble + weight * assistant / ensemble_scale)` of log-probabilities.

    It is about as sure as the ensemble is, which need not be as sure as the teacher is: so a small weight changes the
    ensemble's outputs little.
    """

    ensemble_scale: float
    """The scale with which the ensemble diverges least from the teacher, at least 0.1."""
    weight: float

    def of(self, ensemble: Tensor, assistant: Tensor) -> Tensor:
        """The mixture of these log-probabilities, `[samples, classes]`; without weight, those of the ensemble."""
        if self.weight == 0:
            return ensemble
        return torch.lerp(ensemble, assistant / self.ensemble_scale, self.weight).log_softmax(dim=1)


def divergence(teacher: Tensor, outputs: Tensor) -> float:
    """The mean of KL(teacher || outputs), in nats.

    Args:
        teacher: log-probabilities, `[samples, classes]`.
        outputs: likewise.
    """
    return float(_of_each(teacher, outputs).mean())


def divergences_at_best_scale(teacher: Tensor, predictions: Tensor) -> Tensor:
    """KL(teacher || outputs) of each sample, `[samples]`, in nats, at the scale of `best_scale`.

    Args:
        teacher: log-probabilities, `[samples, classes]`.
        predictions: likewise.
    """
    return _of_each(teacher, (best_scale(teacher, predictions).scale * predictions).log_softmax(dim=1))


def best_scale(teacher: Tensor, predictions: Tensor) -> Scaled:
    """The scale s whose `log_softmax(s * predictions)` diverges least from the teacher, and that divergence.

    Ridge regression shrinks what it predicts; a method that compares directions alone leaves a student's scale open.
    """
    tried = [Scaled(s, divergence(teacher, (s * predictions).log_softmax(dim=1))) for s in _SCALES]
    return min(tried, key=lambda one: one.divergence)


def best_mixture(teacher: Tensor, ensemble: Tensor, assistant: Tensor) -> tuple[Mixture, float]:
    """The mixture that diverges least from the teacher at its best scale, and that divergence.

    Its weight is 0 unless some mixture is better than the ensemble at its own best scale.
    """
    ensemble_scale = max(_LEAST_SCALE, best_scale(teacher, ensemble).scale)
    mixtures = [Mixture(ensemble_scale, weight) for weight in _WEIGHTS]
    tried = {mixture: best_scale(teacher, mixture.of(ensemble, assistant)).divergence for mixture in mixtures}
    best = min(tried, key=lambda mixture: tried[mixture])
    return best, tried[best]


def _of_each(teacher: Tensor, outputs: Tensor) -> Tensor:
    return (teacher.exp() * (teacher - outputs)).sum(dim=1)
