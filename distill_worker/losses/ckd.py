"""Comparative knowledge distillation: the student learns how the teacher's outputs differ between samples.

`n` bought outputs give O(n^2) comparisons of pairs and O(n^k) of groups, at no further call.

Source: Wilf et al. 2023, arXiv 2311.02253, section 3 (the difference comparison).
Departs: the paper draws every comparison by itself; `ckd_loss` compares all ordered pairs of a batch at once, by four
matrix products, which is the mean that the drawn comparisons estimate.
"""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from distill_worker.losses.shapes import at_least_float32, check_logits, check_temperature

_CHUNK_ELEMENTS = 2**24


def ckd_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """`T^2 KL(softmax((z_i - z_j) / T) || softmax((s_i - s_j) / T))`, averaged over all ordered pairs i != j.

    Zero exactly when the student equals the teacher up to a constant for each sample and one vector, shared by all
    samples, over the classes. Log-probabilities in place of logits, on either side, give the same value.

    Args:
        student_logits: float `[batch, classes]`, unnormalised; a batch of at least 2.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        temperature: positive.

    Returns:
        Scalar, in nats times `temperature ** 2`.

    Raises:
        ValueError: a wrong shape or a temperature that is not positive.
    """
    check_logits(student_logits, teacher_logits, at_least=2)
    check_temperature(temperature)
    with torch.autocast(student_logits.device.type, enabled=False):
        teacher = _centre(at_least_float32(teacher_logits.detach()) / temperature)
        student = _centre(at_least_float32(student_logits) / temperature)
        if _exponentials_fit(teacher) and _exponentials_fit(student):
            divergence = _sum_by_products(teacher, student)
        else:
            divergence = _sum_in_log_space(teacher, student)
    batch = len(student_logits)
    return temperature**2 * divergence / (batch * (batch - 1))


def drawn_ckd_loss(
    student_logits: Tensor, teacher_logits: Tensor, groups: Tensor, *, temperature: float = 4.0
) -> Tensor:
    """`T^2 KL(softmax((g(z_A) - g(z_B)) / T) || softmax((g(s_A) - g(s_B)) / T))`, averaged over drawn groups.

    `g` is the mean over a group; of the `k` samples of a comparison the first `ceil(k / 2)` are A, the rest are B.

    Args:
        student_logits: float `[batch, classes]`, unnormalised.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        groups: int64 `[comparisons, k]`, k >= 2: indices into the batch, as `draw_groups` gives them.
        temperature: positive.

    Returns:
        Scalar, in nats times `temperature ** 2`.

    Raises:
        ValueError: a wrong shape or a temperature that is not positive.
    """
    check_logits(student_logits, teacher_logits, at_least=2)
    check_temperature(temperature)
    if groups.ndim != 2 or len(groups) < 1 or groups.shape[1] < 2 or groups.dtype != torch.int64:
        raise ValueError(f"groups: expected int64 [comparisons >= 1, k >= 2], got {groups.dtype} {list(groups.shape)}")
    log_p = log_softmax(_compare(at_least_float32(teacher_logits.detach()), groups) / temperature, dim=1)
    log_q = log_softmax(_compare(at_least_float32(student_logits), groups) / temperature, dim=1)
    return temperature**2 * kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def draw_groups(batch: int, k: int, comparisons: int, generator: torch.Generator) -> Tensor:
    """`comparisons` groups of `k` distinct indices below `batch`, each ordered choice equally likely; int64, on CPU.

    Raises:
        ValueError: k is below 2 or above the batch, or there is nothing to draw.
    """
    if not 2 <= k <= batch:
        raise ValueError(f"k: expected 2 to {batch} (the batch), got {k}")
    if comparisons < 1:
        raise ValueError(f"comparisons: expected at least 1, got {comparisons}")
    return torch.rand(comparisons, batch, generator=generator).topk(k, dim=1).indices


def _compare(logits: Tensor, groups: Tensor) -> Tensor:
    group_a_size = (groups.shape[1] + 1) // 2
    chosen = logits[groups]
    return chosen[:, :group_a_size].mean(dim=1) - chosen[:, group_a_size:].mean(dim=1)


def _centre(scaled: Tensor) -> Tensor:
    return scaled - scaled.mean(dim=1, keepdim=True)


def _exponentials_fit(scaled: Tensor) -> bool:
    """Whether a product of two exponentials, each scaled to a maximum of 1, stays a normal number."""
    widest = float((scaled.detach().amax(dim=1) - scaled.detach().amin(dim=1)).max())
    return 2 * widest < -0.95 * float(torch.log(torch.tensor(torch.finfo(scaled.dtype).tiny, dtype=torch.float64)))


def _sum_by_products(teacher: Tensor, student: Tensor) -> Tensor:
    """The sum over all ordered pairs, each pair's log-partition and expectation read off matrix products.

    With a, b the scaled logits and d = a - b, for every (i, j):
    KL = (sum_c p_c (d_i - d_j)_c) - log Z_a + log Z_b, where Z_a = exp(a) exp(-a)^T, and p_c Z_a = exp(a_i - a_j)_c.
    """
    rising_a, falling_a, offset_a = _factors(teacher)
    rising_b, falling_b, offset_b = _factors(student)
    partition_a = rising_a @ falling_a.T
    partition_b = rising_b @ falling_b.T
    difference = teacher - student
    expectation = (rising_a * difference) @ falling_a.T - rising_a @ (falling_a * difference).T
    pairs = expectation / partition_a - partition_a.log() - offset_a + partition_b.log() + offset_b
    return pairs.sum() - pairs.diagonal().sum()


def _factors(scaled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(a) and exp(-a), each row scaled to a maximum of 1, and the logarithm `[batch, batch]` of what that took."""
    highest = scaled.detach().amax(dim=1, keepdim=True)
    lowest = scaled.detach().amin(dim=1, keepdim=True)
    return (scaled - highest).exp(), (lowest - scaled).exp(), highest - lowest.T


def _sum_in_log_space(teacher: Tensor, student: Tensor) -> Tensor:
    """The same sum pair by pair, in chunks: for logits too far apart for the products above."""
    batch, classes = teacher.shape
    rows = max(1, _CHUNK_ELEMENTS // (batch * classes))
    total = student.new_zeros(())
    for start in range(0, batch, rows):
        log_p = log_softmax(teacher[start : start + rows, None] - teacher[None], dim=2)
        log_q = log_softmax(student[start : start + rows, None] - student[None], dim=2)
        total = total + kl_div(log_q, log_p, reduction="sum", log_target=True)
    return total
