"""Comparative knowledge distillation: the student learns how the teacher's outputs differ between samples.

`n` bought outputs give O(n^2) comparisons of pairs and O(n^k) of groups, at no further call. What is compared:

    ckd_loss           every sample of the batch with every other (k = 2)
    centroid_ckd_loss  means of drawn groups, every A with every B that shares no sample with it (any k)
    drawn_ckd_loss     means of drawn groups, each A with its own B alone, as the authors do (any k)
    cross_ckd_loss     the batch with samples outside it: past student outputs, or the teacher's own as anchors

Source: Wilf et al. 2023, arXiv 2311.02253, section 3.
Departs: the paper draws every comparison by itself; all but `drawn_ckd_loss` compare all with all at once by matrix
products, which gives the mean that drawn comparisons estimate. There a sample whose compared logits, divided by the
temperature, lie more than 330 apart is scaled to that width (not with `concatenation`).
"""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from distill_worker.losses.comparisons import (
    Comparison,
    comparison_weights,
    pairs_with_others,
    share_a_sample,
    share_of_each,
    split_groups,
)
from distill_worker.losses.pairs import Rows, mean_divergence_of_concatenations, mean_divergence_of_sums
from distill_worker.losses.shapes import at_least_float32, check_logits, check_temperature


def ckd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    comparison: Comparison = "difference",
    share: float | Tensor = 0.5,
) -> Tensor:
    """`T^2 KL(softmax(c(z_i, z_j) / T) || softmax(c(s_i, s_j) / T))`, averaged over all ordered pairs i != j.

    By difference it is zero exactly when the student equals the teacher up to a constant for each sample and one
    vector, shared by all samples, over the classes. Log-probabilities in place of logits, on either side, give the same
    value with every comparison.

    Args:
        student_logits: float `[batch, classes]`, unnormalised; a batch of at least 2.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        temperature: positive.
        comparison: the function c.
        share: of the first sample, from 0 to 1; for `interpolation` alone. The value of a scalar tensor is not checked.

    Returns:
        Scalar, in nats times `temperature ** 2`.

    Raises:
        ValueError: a wrong shape, or an argument outside its domain.
    """
    check_logits(student_logits, teacher_logits, at_least=2)
    permitted = ~torch.eye(len(student_logits), dtype=torch.bool, device=student_logits.device)
    sides = (student_logits, teacher_logits.detach())
    return _all_with_all(sides, sides, permitted, temperature, comparison, share)


def centroid_ckd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    groups: Tensor,
    *,
    temperature: float = 4.0,
    comparison: Comparison = "difference",
    share: float | Tensor = 0.5,
) -> Tensor:
    """`T^2 KL(softmax(c(z_A, z_B) / T) || softmax(c(s_A, s_B) / T))`, averaged over all A and B that share no sample.

    z_A is the mean over the first `ceil(k / 2)` samples of a drawn group, z_B that over the rest of it; the A of one
    group is also compared with the B of all others. Log-probabilities in place of logits give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        groups: int64 `[groups, k]`, k >= 2: indices into the batch, as `draw_groups` gives them.
        temperature: positive.
        comparison: the function c.
        share: of A, from 0 to 1; for `interpolation` alone. The value of a scalar tensor is not checked.

    Returns:
        Scalar, in nats times `temperature ** 2`.

    Raises:
        ValueError: a wrong shape, or an argument outside its domain.
    """
    check_logits(student_logits, teacher_logits, at_least=2)
    group_a, group_b = split_groups(groups)
    sides = [at_least_float32(logits) for logits in (student_logits, teacher_logits.detach())]
    first, second = ([logits[group].mean(dim=1) for logits in sides] for group in (group_a, group_b))
    permitted = ~share_a_sample(group_a, group_b)
    return _all_with_all((first[0], first[1]), (second[0], second[1]), permitted, temperature, comparison, share)


def cross_ckd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    other_student_logits: Tensor,
    other_teacher_logits: Tensor,
    *,
    same_sample: Tensor | None = None,
    temperature: float = 4.0,
    comparison: Comparison = "difference",
    share: float | Tensor = 0.5,
) -> Tensor:
    """`T^2 KL(softmax(c(z_i, z'_j) / T) || softmax(c(s_i, s'_j) / T))`, averaged over the batch i and the others j.

    With past student outputs as s' it compares with a memory. With the teacher's outputs as s' and z' both (anchors) it
    also fixes the vector over the classes that comparisons by difference within the student's outputs leave free.
    Log-probabilities in place of logits give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        other_student_logits: float `[others, classes]`: the substitutes for the student's outputs on other samples.
        other_teacher_logits: float `[others, classes]`: the teacher's outputs on them; no gradient flows into it.
        same_sample: bool `[batch, others]`: pairs to leave out, because both are one sample.
        temperature: positive.
        comparison: the function c.
        share: of the batch's sample, from 0 to 1; for `interpolation` alone. The value of a scalar tensor is not
            checked.

    Returns:
        Scalar, in nats times `temperature ** 2`.

    Raises:
        ValueError: a wrong shape, or an argument outside its domain.
    """
    permitted = pairs_with_others(
        student_logits, teacher_logits, other_student_logits, other_teacher_logits, same_sample
    )
    first = (student_logits, teacher_logits.detach())
    second = (other_student_logits, other_teacher_logits.detach())
    return _all_with_all(first, second, permitted, temperature, comparison, share)


def drawn_ckd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    groups: Tensor,
    *,
    temperature: float = 4.0,
    comparison: Comparison = "difference",
    share: float | Tensor = 0.5,
) -> Tensor:
    """`T^2 KL(softmax(c(z_A, z_B) / T) || softmax(c(s_A, s_B) / T))`, averaged over drawn groups.

    z_A is the mean over the first `ceil(k / 2)` samples of a group, z_B that over the rest of it. Log-probabilities in
    place of logits give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        groups: int64 `[comparisons, k]`, k >= 2: indices into the batch, as `draw_groups` gives them.
        temperature: positive.
        comparison: the function c.
        share: of A, from 0 to 1, one for all or float `[comparisons]`; for `interpolation` alone.

    Returns:
        Scalar, in nats times `temperature ** 2`.

    Raises:
        ValueError: a wrong shape, or an argument outside its domain.
    """
    check_logits(student_logits, teacher_logits, at_least=2)
    check_temperature(temperature)
    parts = split_groups(groups)
    weight_a, weight_b = comparison_weights(comparison, share_of_each(share, groups))

    def log_probabilities(logits: Tensor) -> Tensor:
        mean_a, mean_b = (at_least_float32(logits)[part].mean(dim=1) for part in parts)
        if comparison == "concatenation":
            compared = torch.cat([mean - mean.mean(dim=1, keepdim=True) for mean in (mean_a, mean_b)], dim=1)
        else:
            compared = weight_a * mean_a + weight_b * mean_b
        return log_softmax(compared / temperature, dim=1)

    log_p, log_q = log_probabilities(teacher_logits.detach()), log_probabilities(student_logits)
    return temperature**2 * kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def _all_with_all(
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    permitted: Tensor,
    temperature: float,
    comparison: Comparison,
    share: float | Tensor,
) -> Tensor:
    check_temperature(temperature)
    weight_a, weight_b = comparison_weights(comparison, share)
    with torch.autocast(permitted.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(first[0].dtype, first[1].dtype), torch.float32)
        rows_a, rows_b = (
            Rows(*(logits.to(dtype) * (weight / temperature) for logits in sides))
            for sides, weight in ((first, weight_a), (second, weight_b))
        )
        mean = mean_divergence_of_concatenations if comparison == "concatenation" else mean_divergence_of_sums
        return temperature**2 * mean(rows_a, rows_b, permitted)
