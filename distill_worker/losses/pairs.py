"""Every row of A compared with every row of B, without ever building the compared vectors.

A compared vector is x_i + y_j, where x and y are rows already scaled: (a / T, -b / T) compares by difference. With
p = softmax(x_i + y_j) for the teacher and q for the student, E = exp(x), F = exp(y), and dx, dy the teacher's rows less
the student's, every divergence is read off matrix products:

    KL(p || q)_ij = ((E * dx) F^T + E (F * dy)^T)_ij / (E F^T)_ij - log Z_teacher,ij + log Z_student,ij

M x N comparisons of C classes so take four M x C x N products and M N memory, instead of M N C.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

_CHUNK_ELEMENTS = 2**24


@dataclass(frozen=True)
class Rows:
    """One side of the comparisons, scaled: float `[rows, classes]` each. Only the student's carry a gradient."""

    student: Tensor
    teacher: Tensor

    def centred(self) -> "Rows":
        """Each row less its mean, which no softmax sees."""
        return Rows(*(side - side.mean(dim=1, keepdim=True) for side in (self.student, self.teacher)))


def mean_divergence_of_sums(first: Rows, second: Rows, permitted: Tensor) -> Tensor:
    """The mean of `KL(softmax(teacher) || softmax(student))` of the sums `first_i + second_j`, over permitted pairs.

    Args:
        first: `[m, classes]`.
        second: `[n, classes]`.
        permitted: bool `[m, n]`; a mean over no pair is 0.
    """
    first, second = first.centred(), second.centred()
    if _exponentials_fit(first, second):
        divergence = _by_products(first, second)
        total = divergence.masked_fill(~permitted, 0.0).sum()
    else:
        total = _in_log_space(first, second, permitted)
    return total / permitted.sum().clamp(min=1)


def mean_divergence_of_concatenations(first: Rows, second: Rows, permitted: Tensor) -> Tensor:
    """The same for the vectors `[first_i, second_j]` of twice the length, whose parts meet in the partition alone.

    Rows are centred first, so that a constant added to a sample's logits does not change the result.
    """
    first, second = first.centred(), second.centred()
    parts = [rows.teacher.logsumexp(dim=1) for rows in (first, second)]
    log_partition = torch.logaddexp(parts[0][:, None], parts[1][None])
    share = (parts[0][:, None] - log_partition).exp()
    inner = [((r.teacher - r.student) * r.teacher.softmax(dim=1)).sum(dim=1) for r in (first, second)]
    student_partition = torch.logaddexp(first.student.logsumexp(dim=1)[:, None], second.student.logsumexp(dim=1)[None])
    divergence = share * inner[0][:, None] + (1 - share) * inner[1][None] - log_partition + student_partition
    return divergence.masked_fill(~permitted, 0.0).sum() / permitted.sum().clamp(min=1)


def _exponentials_fit(first: Rows, second: Rows) -> bool:
    """Whether a product of two exponentials, each scaled to a maximum of 1, stays a normal number."""
    widest = torch.stack(
        [_widest(first.teacher) + _widest(second.teacher), _widest(first.student) + _widest(second.student)]
    )
    tiniest = torch.log(torch.tensor(torch.finfo(widest.dtype).tiny, dtype=torch.float64))
    return float(widest.max()) < -0.95 * float(tiniest)


def _widest(rows: Tensor) -> Tensor:
    return (rows.detach().amax(dim=1) - rows.detach().amin(dim=1)).amax()


def _by_products(first: Rows, second: Rows) -> Tensor:
    first_e, first_top = _exponentials(first.teacher)
    second_e, second_top = _exponentials(second.teacher)
    partition = first_e @ second_e.T
    expectation = (first_e * (first.teacher - first.student)) @ second_e.T
    expectation = expectation + first_e @ (second_e * (second.teacher - second.student)).T
    student_first_e, student_first_top = _exponentials(first.student)
    student_second_e, student_second_top = _exponentials(second.student)
    student_log_partition = (student_first_e @ student_second_e.T).log() + student_first_top + student_second_top.T
    return expectation / partition - partition.log() - (first_top + second_top.T) + student_log_partition


def _exponentials(rows: Tensor) -> tuple[Tensor, Tensor]:
    """exp(rows), each row scaled to a maximum of 1, and the logarithm `[rows, 1]` of the factor."""
    highest = rows.detach().amax(dim=1, keepdim=True)
    return (rows - highest).exp(), highest


def _in_log_space(first: Rows, second: Rows, permitted: Tensor) -> Tensor:
    """The sum pair by pair, in chunks: for rows too far apart for the products above."""
    chunk = max(1, _CHUNK_ELEMENTS // second.student.numel())
    total = first.student.new_zeros(())
    for start in range(0, len(first.student), chunk):
        rows = slice(start, start + chunk)
        log_p = log_softmax(first.teacher[rows, None] + second.teacher[None], dim=2)
        log_q = log_softmax(first.student[rows, None] + second.student[None], dim=2)
        divergence = kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=2)
        total = total + divergence.masked_fill(~permitted[rows], 0.0).sum()
    return total
