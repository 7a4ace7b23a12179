"""The oracle of the losses: the formula, one comparison and one class at a time."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def divergence(teacher_scores: Tensor, student_scores: Tensor) -> Tensor:
    """`KL(softmax(teacher) || softmax(student))` of two vectors."""
    log_p = teacher_scores - teacher_scores.logsumexp(0)
    log_q = student_scores - student_scores.logsumexp(0)
    terms = [p.exp() * (p - q) for p, q in zip(log_p, log_q, strict=True)]
    return torch.stack(terms).sum()


def ckd_by_loop(student: Tensor, teacher: Tensor, groups: Iterable[Sequence[int]], temperature: float) -> Tensor:
    """`T^2 KL` of the compared vectors, averaged over the groups, whose first ceil(k / 2) members are A."""
    values = []
    for group in groups:
        half = -(-len(group) // 2)

        def compared(logits: Tensor, group: Sequence[int] = group, half: int = half) -> Tensor:
            mean_a = torch.stack([logits[index] for index in group[:half]]).sum(0) / half
            mean_b = torch.stack([logits[index] for index in group[half:]]).sum(0) / (len(group) - half)
            return (mean_a - mean_b) / temperature

        values.append(temperature**2 * divergence(compared(teacher), compared(student)))
    return torch.stack(values).mean()


def value_and_gradient(loss: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """The loss and its gradient in the student's logits."""
    (gradient,) = torch.autograd.grad(loss, student)
    return loss.detach(), gradient
