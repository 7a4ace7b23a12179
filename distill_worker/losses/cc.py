"""Correlation congruence: the kernel correlations between samples are the teacher's."""

from math import exp, factorial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from distill_worker.losses.shapes import at_least_float32, check_representations


def cc_loss(student_logits: Tensor, teacher_logits: Tensor, *, gamma: float = 0.4, order: int = 2) -> Tensor:
    """`mean over pairs of (K(z_i, z_j) - K(s_i, s_j))^2`, K a Gaussian kernel by its Taylor expansion.

    `K(x, y) = sum over p = 0..order of exp(-2 gamma) (2 gamma)^p / p! (x . y)^p`, of rows scaled to length 1. All
    `batch^2` ordered pairs count. Not invariant to a constant added to a sample's logits.

    Args:
        student_logits: float `[batch, dims]`: logits, or features; a batch of at least 2.
        teacher_logits: float `[batch, teacher dims]`; no gradient flows into it.
        gamma: width of the kernel; positive.
        order: of the expansion; at least 1.

    Returns:
        Scalar without unit.

    Raises:
        ValueError: a wrong shape, or an argument outside its domain.

    Source: Peng et al. 2019, arXiv 1904.01802, equations (7) and (12).
    Departs: a re-implementation in wide use multiplies differences of neighbours in the batch instead; the weight 0.02
    comes from there.
    """
    check_representations(student_logits, teacher_logits)
    if not 0 < gamma < float("inf"):
        raise ValueError(f"gamma: expected a positive finite number, got {gamma}")
    if order < 1:
        raise ValueError(f"order: expected at least 1, got {order}")
    with torch.autocast(student_logits.device.type, enabled=False):
        student, teacher = (
            _correlations(rows, gamma, order)
            for rows in (at_least_float32(student_logits), at_least_float32(teacher_logits.detach()))
        )
    return (teacher - student).square().mean()


def _correlations(rows: Tensor, gamma: float, order: int) -> Tensor:
    rows = normalize(rows)
    products = rows @ rows.T
    terms = [(2 * gamma) ** power / factorial(power) * products**power for power in range(order + 1)]
    return exp(-2 * gamma) * torch.stack(terms).sum(dim=0)
