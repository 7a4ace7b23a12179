"""Relational knowledge distillation: distances between pairs of samples, and angles of triplets."""

import torch
from torch import Tensor
from torch.nn.functional import normalize, smooth_l1_loss

from distill_worker.losses.shapes import at_least_float32, check_representations


def rkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
) -> Tensor:
    """`distance SmoothL1(d_ij / mean d) + angle SmoothL1(cos angle ijk)`, teacher against student.

    Distances are averaged over all `batch^2` ordered pairs and angles over all `batch^3` triplets, those with repeated
    samples among them, which add 0; the mean distance is that of the pairs at a positive distance.
    Not invariant to a constant added to a sample's logits: log-probabilities give another value. With a batch of 2 the
    gradient is 0.

    Args:
        student_logits: float `[batch, dims]`: logits, or features; a batch of at least 2.
        teacher_logits: float `[batch, teacher dims]`; no gradient flows into it.
        distance_weight: of the distances.
        angle_weight: of the angles.

    Returns:
        Scalar without unit.

    Raises:
        ValueError: a wrong shape.

    Source: Park et al. 2019, arXiv 1904.05068, equations (5) to (10); means and weights as in Tian et al. 2020, arXiv
    1910.10699.
    """
    check_representations(student_logits, teacher_logits)
    with torch.autocast(student_logits.device.type, enabled=False):
        student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits.detach())
        distance = smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))
        angle = smooth_l1_loss(_angles(student), _angles(teacher))
    return distance_weight * distance + angle_weight * angle


def _relative_distances(rows: Tensor) -> Tensor:
    squares = (rows[:, None] - rows[None]).square().sum(dim=2)
    apart = squares > 0
    # The root has no slope at 0: where two samples coincide it is taken of 1 and thrown away.
    distances = torch.where(apart, squares, 1.0).sqrt().masked_fill(~apart, 0.0)
    mean = distances.sum() / apart.sum().clamp(min=1)
    return distances / torch.where(mean > 0, mean, 1.0)


def _angles(rows: Tensor) -> Tensor:
    """`[batch, batch, batch]`: at i, the cosine between the directions to j and to k."""
    directions = normalize(rows[None] - rows[:, None], dim=2)
    return directions @ directions.transpose(1, 2)
