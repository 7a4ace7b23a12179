"""Similarity-preserving distillation: samples that are alike for the teacher are alike for the student."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from distill_worker.losses.shapes import at_least_float32, check_representations


def sp_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """`||G_z - G_s||^2 / batch^2` with G the matrix of inner products of samples, each row scaled to length 1.

    Not invariant to a constant added to a sample's logits: log-probabilities give another value.

    Args:
        student_logits: float `[batch, dims]`: logits, or flattened features; a batch of at least 2.
        teacher_logits: float `[batch, teacher dims]`; no gradient flows into it.

    Returns:
        Scalar without unit.

    Raises:
        ValueError: a wrong shape.

    Source: Tung and Mori 2019, arXiv 1907.09682, equations (2) to (4).
    """
    check_representations(student_logits, teacher_logits)
    with torch.autocast(student_logits.device.type, enabled=False):
        student, teacher = (
            normalize(rows @ rows.T)
            for rows in (at_least_float32(student_logits), at_least_float32(teacher_logits.detach()))
        )
    return (teacher - student).square().mean()
