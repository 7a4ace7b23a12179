"""Every row of A compared with every row of B, without ever building the compared vectors.

A compared vector is x_i + y_j, where x and y are rows already scaled: (a / T, -b / T) compares by difference. With
p = softmax(x_i + y_j) for the teacher and q for the student, E = exp(x), F = exp(y), and dx, dy the teacher's rows less
the student's, every divergence is read off matrix products:

    KL(p || q)_ij = ((E * dx) F^T + E (F * dy)^T)_ij / (E F^T)_ij - log Z_teacher,ij + log Z_student,ij

M x N comparisons of C classes so take four M x C x N products and M N memory, instead of M N C.

The products are taken in float64, and nothing here depends on the values, so that a GPU never waits to be read. A
product of two exponentials is then a normal number as long as the values of a row lie at most `WIDEST` apart. A wider
row, of logits more than 1,300 apart at a temperature of 4, is scaled to that width: the loss and its gradient stay
finite, and are those of the scaled row.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

WIDEST: Final = 330.0
"""The largest difference between two values of a row that is computed exactly: exp(-2 * 330) is a normal float64."""


@dataclass(frozen=True)
class Rows:
    """One side of the comparisons, scaled: float `[rows, classes]` each. Only the student's carry a gradient."""

    student: Tensor
    teacher: Tensor

    def centred(self) -> "Rows":
        """Each row less its mean, which no softmax sees."""
        return Rows(*(side - side.mean(dim=1, keepdim=True) for side in (self.student, self.teacher)))

    def for_products(self) -> "Rows":
        """Each centred row in float64, scaled to `WIDEST` where its values lie further apart."""
        return Rows(*(_at_most_widest(side.double()) for side in (self.student, self.teacher)))


def mean_divergence_of_sums(first: Rows, second: Rows, permitted: Tensor) -> Tensor:
    """The mean of `KL(softmax(teacher) || softmax(student))` of the sums `first_i + second_j`, over permitted pairs.

    Args:
        first: `[m, classes]`.
        second: `[n, classes]`.
        permitted: bool `[m, n]`; a mean over no pair is 0.
    """
    divergence = _by_products(first.centred().for_products(), second.centred().for_products())
    return _mean(divergence, permitted).to(first.student.dtype)


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
    return _mean(divergence, permitted)


def _mean(divergence: Tensor, permitted: Tensor) -> Tensor:
    return divergence.masked_fill(~permitted, 0.0).sum() / permitted.sum().clamp(min=1)


def _at_most_widest(rows: Tensor) -> Tensor:
    width = rows.detach().amax(dim=1, keepdim=True) - rows.detach().amin(dim=1, keepdim=True)
    return rows * (WIDEST / width).clamp(max=1.0)


def _by_products(first: Rows, second: Rows) -> Tensor:
    first_e, first_top = _exponentials(first.teacher)
    second_e, second_top = _exponentials(second.teacher)
    partition = first_e @ second_e.T
    expectation = (first_e * (first.teacher - first.student)) @ second_e.T
    expectation = expectation + first_e @ (second_e * (second.teacher - second.student)).T
    student_first_e, student_first_top = _exponentials(first.student)
    student_second_e, student_second_top = _exponentials(second.student)
    student_partition = student_first_e @ student_second_e.T
    offset = (student_first_top - first_top) + (student_second_top - second_top).T
    return expectation / partition + (student_partition / partition).log() + offset


def _exponentials(rows: Tensor) -> tuple[Tensor, Tensor]:
    """exp(rows), each row scaled to a maximum of 1, and the logarithm `[rows, 1]` of the factor."""
    highest = rows.detach().amax(dim=1, keepdim=True)
    return (rows - highest).exp(), highest
