"""Logit regression: the squared error of logits that are centred over the classes."""

import torch
from torch import Tensor

from distill_worker.losses.shapes import at_least_float32, check_logits


def mse_loss(student_logits: Tensor, teacher_logits: Tensor, *, variance: float | Tensor = 1.0) -> Tensor:
    """`|C(s) - C(z)|^2 / variance`, averaged over the batch, with `C(x) = x - mean(x)` of each sample.

    Log-probabilities in place of logits, on either side, give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        variance: positive; with that of the teacher's outputs (`logit_variance`) the loss does not depend on their
            scale, and is the number of classes for a student whose logits are all alike. The value of a scalar tensor
            is not checked.

    Returns:
        Scalar, in squared logits divided by the variance.

    Raises:
        ValueError: a wrong shape or a variance that is not positive.

    Source: Kim et al. 2021, arXiv 2105.08919, section 3.
    Departs: they neither centre the logits nor divide by a variance.
    """
    check_logits(student_logits, teacher_logits)
    check_variance(variance)
    return residuals(student_logits, teacher_logits).square().sum(dim=1).mean() / variance


def logit_variance(teacher_logits: Tensor) -> Tensor:
    """The mean square of logits that are centred over the classes, over samples and classes; a scalar.

    It is 1 where all logits of each sample are alike, so that a division by it is safe.

    Args:
        teacher_logits: float `[samples, classes]`, unnormalised: all outputs that a student learns from.
    """
    logits = at_least_float32(teacher_logits.detach())
    # Less the first of them, equal logits are 0; their mean alone is rounded, and what it leaves is not 0.
    variance = _centred(logits - logits[:, :1]).square().mean()
    return torch.where(variance > 0, variance, 1.0)


def residuals(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """The centred student logits less the centred teacher logits, at least in float32; only the student's learn."""
    return _centred(at_least_float32(student_logits) - at_least_float32(teacher_logits.detach()))


def check_variance(variance: float | Tensor) -> None:
    """Raise `ValueError` unless the variance is positive and finite; the value of a tensor is not checked."""
    if not isinstance(variance, Tensor) and not 0 < variance < float("inf"):
        raise ValueError(f"variance: expected a positive finite number, got {variance}")


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=1, keepdim=True)
