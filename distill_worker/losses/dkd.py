"""Decoupled knowledge distillation: the true class, and the others among themselves, weighted apart."""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from distill_worker.losses.shapes import at_least_float32, check_labels, check_logits, check_temperature


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 6.0,
) -> Tensor:
    """`T^2 (alpha KL(b_z || b_s) + beta KL(softmax of other z / T || of other s / T))`, averaged over the batch.

    b is the pair of probabilities (true class, any other) at this temperature. Log-probabilities in place of logits, on
    either side, give the same value. alpha = 1 and beta = the teacher's probability of the other classes would be KD.

    Args:
        student_logits: float `[batch, classes]`, unnormalised; at least 2 classes.
        teacher_logits: float `[batch, classes]`, unnormalised; no gradient flows into it.
        labels: int64 `[batch]`, the true classes.
        temperature: positive.
        alpha: weight of the true class against the others.
        beta: weight of the others among themselves.

    Returns:
        Scalar, in nats times `temperature ** 2`.

    Raises:
        ValueError: a wrong shape or a temperature that is not positive.

    Source: Zhao et al. 2022, arXiv 2203.08679, equations (1), (2), (6) and (7).
    """
    check_logits(student_logits, teacher_logits)
    check_labels(labels, student_logits)
    check_temperature(temperature)
    # one_hot would read the labels, to check them
    is_true = labels[:, None] == torch.arange(student_logits.shape[1], device=labels.device)
    true_p, others_p = _decoupled(at_least_float32(teacher_logits.detach()) / temperature, is_true)
    true_q, others_q = _decoupled(at_least_float32(student_logits) / temperature, is_true)
    target = kl_div(true_q, true_p, reduction="batchmean", log_target=True)
    others = kl_div(others_q, others_p, reduction="none", log_target=True).masked_fill(is_true, 0.0).sum(dim=1).mean()
    return temperature**2 * (alpha * target + beta * others)


def _decoupled(scaled: Tensor, is_true: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of (true, other) `[batch, 2]`, and of each other class among the others, 0 at the true one."""
    others = scaled.masked_fill(is_true, -torch.inf)
    log_others = others.logsumexp(dim=1)
    true = scaled.masked_fill(~is_true, 0.0).sum(dim=1)
    among_others = (scaled - log_others[:, None]).masked_fill(is_true, 0.0)
    return log_softmax(torch.stack([true, log_others], dim=1), dim=1), among_others
