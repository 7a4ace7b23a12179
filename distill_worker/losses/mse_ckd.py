"""Comparative knowledge distillation by squared error: the student's compared logits approach the teacher's.

A comparison is linear in the logits, so only the residuals d = C(s) - C(z) are compared: the student's logits, centred
over the classes, less the teacher's. No compared vector is built where all are compared with all:

    mse_ckd_loss           every sample of the batch with every other (k = 2)
    mse_centroid_ckd_loss  means of drawn groups, every A with every B that shares no sample with it (any k)
    mse_drawn_ckd_loss     means of drawn groups, each A with its own B alone, as the authors do (any k)
    mse_cross_ckd_loss     the batch with samples outside it: past student outputs

Squares are divided by twice the variance of the teacher's centred logits, with every comparison: a difference between
two samples has that variance. By difference, the first is `sum_i |d_i - mean d|^2 / ((B - 1) variance)`: logit
regression (`mse_loss`) less the batch's mean residual. Two variants compare nothing, because logit regression is all
that is left of them, and are errors: `concatenation`, whose parts never meet, and the teacher's own outputs as anchors,
whose residual is 0.

Source: the second release (2025-03-01) of the code of Wilf et al. 2023, arXiv 2311.02253.
Departs: they neither centre the logits nor divide by a variance, and draw every comparison by itself.
"""

import torch
from torch import Tensor

from distill_worker.losses.comparisons import (
    Comparison,
    comparison_weights,
    pairs_with_others,
    share_a_sample,
    share_of_each,
    split_groups,
)
from distill_worker.losses.mse import check_variance, residuals
from distill_worker.losses.shapes import check_logits


def mse_ckd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    variance: float | Tensor = 1.0,
    comparison: Comparison = "difference",
    share: float | Tensor = 0.5,
) -> Tensor:
    """`|c(C(s_i), C(s_j)) - c(C(z_i), C(z_j))|^2 / (2 variance)`, averaged over all ordered pairs i != j.

    It takes time and memory of `batch * classes`. By difference it is zero exactly when the student equals the teacher
    up to a constant for each sample and one vector, shared by all samples, over the classes. Log-probabilities in place
    of logits, on either side, give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised; a batch of at least 2.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        variance: positive: that of the teacher's outputs (`logit_variance`). The value of a scalar tensor is not
            checked.
        comparison: the function c; not `concatenation`.
        share: of the first sample, from 0 to 1; for `interpolation` alone. The value of a scalar tensor is not checked.

    Returns:
        Scalar, in squared logits divided by twice the variance.

    Raises:
        ValueError: a wrong shape, or an argument outside its domain.
    """
    check_logits(student_logits, teacher_logits, at_least=2)
    check_variance(variance)
    weight_a, weight_b = _weights(comparison, share)
    rows = residuals(student_logits, teacher_logits)
    common = rows.mean(dim=0)
    of_spread = weight_a**2 + weight_b**2 - 2 * weight_a * weight_b / (len(rows) - 1)
    square = (weight_a + weight_b) ** 2 * common.square().sum() + of_spread * (rows - common).square().sum(dim=1).mean()
    return square / (2 * variance)


def mse_centroid_ckd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    groups: Tensor,
    *,
    variance: float | Tensor = 1.0,
    comparison: Comparison = "difference",
    share: float | Tensor = 0.5,
) -> Tensor:
    """`|c(C(s_A), C(s_B)) - c(C(z_A), C(z_B))|^2 / (2 variance)`, averaged over all A and B that share no sample.

    z_A is the mean over the first `ceil(k / 2)` samples of a drawn group, z_B that over the rest of it; the A of one
    group is also compared with the B of all others. Log-probabilities in place of logits give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        groups: int64 `[groups, k]`, k >= 2: indices into the batch, as `draw_groups` gives them.
        variance: positive: that of the teacher's outputs (`logit_variance`). The value of a scalar tensor is not
            checked.
        comparison: the function c; not `concatenation`.
        share: of A, from 0 to 1; for `interpolation` alone. The value of a scalar tensor is not checked.

    Returns:
        Scalar, in squared logits divided by twice the variance.

    Raises:
        ValueError: a wrong shape, or an argument outside its domain.
    """
    check_logits(student_logits, teacher_logits, at_least=2)
    check_variance(variance)
    group_a, group_b = split_groups(groups)
    rows = residuals(student_logits, teacher_logits)
    permitted = ~share_a_sample(group_a, group_b)
    square = _all_with_all(rows[group_a].mean(dim=1), rows[group_b].mean(dim=1), permitted, comparison, share)
    return square / (2 * variance)


def mse_cross_ckd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    other_student_logits: Tensor,
    other_teacher_logits: Tensor,
    *,
    same_sample: Tensor | None = None,
    variance: float | Tensor = 1.0,
    comparison: Comparison = "difference",
    share: float | Tensor = 0.5,
) -> Tensor:
    """`|c(C(s_i), C(s'_j)) - c(C(z_i), C(z'_j))|^2 / (2 variance)`, averaged over the batch i and the others j.

    With past student outputs as s' it compares with a memory. Log-probabilities in place of logits give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        other_student_logits: float `[others, classes]`: the student's outputs on other samples.
        other_teacher_logits: float `[others, classes]`: the teacher's outputs on them; no gradient flows into it.
        same_sample: bool `[batch, others]`: pairs to leave out, because both are one sample.
        variance: positive: that of the teacher's outputs (`logit_variance`). The value of a scalar tensor is not
            checked.
        comparison: the function c; not `concatenation`.
        share: of the batch's sample, from 0 to 1; for `interpolation` alone. The value of a scalar tensor is not
            checked.

    Returns:
        Scalar, in squared logits divided by twice the variance.

    Raises:
        ValueError: a wrong shape, or an argument outside its domain.
    """
    permitted = pairs_with_others(
        student_logits, teacher_logits, other_student_logits, other_teacher_logits, same_sample
    )
    check_variance(variance)
    rows, others = (
        residuals(student_logits, teacher_logits),
        residuals(other_student_logits, other_teacher_logits),
    )
    return _all_with_all(rows, others, permitted, comparison, share) / (2 * variance)


def mse_drawn_ckd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    groups: Tensor,
    *,
    variance: float | Tensor = 1.0,
    comparison: Comparison = "difference",
    share: float | Tensor = 0.5,
) -> Tensor:
    """`|c(C(s_A), C(s_B)) - c(C(z_A), C(z_B))|^2 / (2 variance)`, averaged over drawn groups.

    z_A is the mean over the first `ceil(k / 2)` samples of a group, z_B that over the rest of it. Log-probabilities in
    place of logits give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        groups: int64 `[comparisons, k]`, k >= 2: indices into the batch, as `draw_groups` gives them.
        variance: positive: that of the teacher's outputs (`logit_variance`). The value of a scalar tensor is not
            checked.
        comparison: the function c; not `concatenation`.
        share: of A, from 0 to 1, one for all or float `[comparisons]`; for `interpolation` alone.

    Returns:
        Scalar, in squared logits divided by twice the variance.

    Raises:
        ValueError: a wrong shape, or an argument outside its domain.
    """
    check_logits(student_logits, teacher_logits, at_least=2)
    check_variance(variance)
    group_a, group_b = split_groups(groups)
    weight_a, weight_b = _weights(comparison, share_of_each(share, groups))
    rows = residuals(student_logits, teacher_logits)
    compared = weight_a * rows[group_a].mean(dim=1) + weight_b * rows[group_b].mean(dim=1)
    return compared.square().sum(dim=1).mean() / (2 * variance)


def _weights(comparison: Comparison, share: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
    if comparison == "concatenation":
        raise ValueError(
            "comparison: expected difference, addition or interpolation, got 'concatenation', which compares nothing "
            "by squared error; use mse_loss"
        )
    return comparison_weights(comparison, share)


def _all_with_all(
    first: Tensor, second: Tensor, permitted: Tensor, comparison: Comparison, share: float | Tensor
) -> Tensor:
    """The squared length of the compared residuals, averaged over permitted pairs; over no pair, 0.

    The products are taken in float64: a square is a small difference of large terms where a residual is shared by all.
    """
    weight_a, weight_b = _weights(comparison, share)
    with torch.autocast(permitted.device.type, enabled=False):
        rows_a, rows_b = weight_a * first.double(), weight_b * second.double()
        squares = rows_a.square().sum(dim=1)[:, None] + rows_b.square().sum(dim=1)[None] + 2 * rows_a @ rows_b.T
        mean = squares.masked_fill(~permitted, 0.0).sum() / permitted.sum().clamp(min=1)
        return mean.to(first.dtype)
