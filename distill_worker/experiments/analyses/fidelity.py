"""Fidelity: how close a student is to its teacher, whether or not both are right."""

from typing import Any

import torch
from torch import Tensor


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
