"""Probabilistic knowledge transfer: each sample's neighbours in the batch are the teacher's."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from distill_worker.losses.shapes import at_least_float32, check_representations

_EPSILON = 1e-7


def pkt_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """`mean over pairs of p_ij log(p_ij / q_ij)`, p and q the conditional probabilities of j given i.

    A row of p is the teacher's cosine similarities to i, moved to [0, 1] and scaled to sum 1; q is the student's.
    All `batch^2` ordered pairs count. Not invariant to a constant added to a sample's logits.

    Args:
        student_logits: float `[batch, dims]`: logits, or features; a batch of at least 2.
        teacher_logits: float `[batch, teacher dims]`; no gradient flows into it.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: a wrong shape.

    Source: Passalis and Tefas 2018, arXiv 1803.10837, equations (3), (4), (6) and (7); the mean and the constant 1e-7
    as in their code.
    """
    check_representations(student_logits, teacher_logits)
    with torch.autocast(student_logits.device.type, enabled=False):
        q, p = (
            _conditional(rows) for rows in (at_least_float32(student_logits), at_least_float32(teacher_logits.detach()))
        )
        return (p * ((p + _EPSILON) / (q + _EPSILON)).log()).mean()


def _conditional(rows: Tensor) -> Tensor:
    rows = normalize(rows)
    similarities = (rows @ rows.T + 1) / 2
    return similarities / similarities.sum(dim=1, keepdim=True)
