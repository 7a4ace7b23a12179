"""Fidelity: how close a student is to its teacher, whether or not both are right."""

from typing import Any, Final

import torch
from torch import Tensor

from distill_worker.training.finished.intervals import wilson

_RESAMPLES: Final = 2000
_ENDS: Final = (0.025, 0.975)
_SEED: Final = 0
"""Draws the resamples."""


def divergences(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher || student) = sum over classes of p (log p - log q), in nats, float64 `[samples]`.

    Args:
        teacher: log-probabilities, float64 `[samples, classes]`; -inf where the teacher excludes a class.
        student: finite log-probabilities, float64 `[samples, classes]`.
    """
    terms = teacher.exp() * (teacher - student)
    return torch.where(teacher.isneginf(), 0.0, terms).sum(dim=1)


def fidelity(teacher: Tensor, student: Tensor) -> dict[str, Any]:
    """The number of samples, the share with the same top-1 class, and the mean divergence in nats, JSON-able.

    The arguments are those of `divergences`, for at least one sample.

    Source:
        Stanton et al. 2021, arXiv 2106.05945, section 3: top-1 agreement and predictive KL.
    """
    agree = teacher.argmax(dim=1) == student.argmax(dim=1)
    return {
        "samples": len(teacher),
        "agreement": float(agree.double().mean()),
        "kl": float(divergences(teacher, student).mean()),
    }


def fidelity_with_intervals(agree: Tensor, divergence: Tensor) -> dict[str, Any]:
    """The facts of `fidelity`, and their 95 % intervals: Wilson's of the share, the bootstrap's of the mean; JSON-able.

    Args:
        agree: bool `[samples]`: whether student and teacher have the same top-1 class; at least one sample.
        divergence: as `divergences` gives it, float64 `[samples]`.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3: the percentile interval.
    """
    samples = len(agree)
    draws = torch.randint(samples, (_RESAMPLES, samples), generator=torch.Generator().manual_seed(_SEED))
    ends = divergence[draws].mean(dim=1).quantile(torch.tensor(_ENDS, dtype=torch.float64))
    return {
        "samples": samples,
        "agreement": float(agree.double().mean()),
        "agreement_interval": list(wilson(int(agree.sum()), samples)),
        "kl": float(divergence.mean()),
        "kl_interval": ends.tolist(),
    }
