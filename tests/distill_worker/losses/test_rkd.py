"""RKD against the paper's formula, pair by pair and triplet by triplet."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import rkd_loss
from tests.distill_worker.losses.comparisons import value_and_gradient
from tests.distill_worker.losses.oracles import dot, mean, rows


def _by_loop(student: Tensor, teacher: Tensor, distance_weight: float, angle_weight: float) -> Tensor:
    """Park et al. 2019, equations (5) to (7) for distances, (9) and (10) for angles, (8) the Huber loss.

    The mean over all batch^2 pairs and batch^3 triplets; where samples repeat there is no distance and no angle: 0.
    """
    batch = range(len(student))

    def distances(side: Tensor) -> list[Tensor]:
        each = [
            dot(side[i] - side[j], side[i] - side[j]).sqrt() if i != j else side.new_zeros(())
            for i in batch
            for j in batch
        ]
        scale = mean([value for value in each if float(value.detach()) > 0])
        return [value / scale for value in each]

    def angles(side: Tensor) -> list[Tensor]:
        each = []
        for i in batch:
            for j in batch:
                for k in batch:
                    if i in (j, k):
                        each.append(side.new_zeros(()))
                        continue
                    to_j, to_k = side[j] - side[i], side[k] - side[i]
                    each.append(dot(to_j, to_k) / (dot(to_j, to_j) * dot(to_k, to_k)).sqrt())
        return each

    def huber(ours: Tensor, theirs: Tensor) -> Tensor:
        gap = (ours - theirs).abs()
        return gap**2 / 2 if float(gap.detach()) <= 1 else gap - 0.5

    distance, angle = (
        mean([huber(ours, theirs) for ours, theirs in zip(of(student), of(teacher), strict=True)])
        for of in (distances, angles)
    )
    return distance_weight * distance + angle_weight * angle


def test_value_by_hand() -> None:
    """On a line the teacher's samples lie at 0, 1, 3, the student's at 0, 1, 2: mean distances 2 and 4/3.

    Relative distances (1/2, 3/2, 1) against (3/4, 3/2, 3/4), each twice among nine; the angles are equal.
    """
    teacher, student = torch.tensor([[0.0], [1.0], [3.0]]).double(), torch.tensor([[0.0], [1.0], [2.0]]).double()
    expected = 2 * (0.25**2 / 2 + 0 + 0.25**2 / 2) / 9
    assert float(rkd_loss(student, teacher, distance_weight=2, angle_weight=5)) == pytest.approx(2 * expected)


def test_angle_by_hand() -> None:
    """The student folds a straight line at its middle into a right angle: cosine 0 there instead of -1."""
    teacher = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    student = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    at_the_middle = 2 * 0.5
    at_the_ends = 4 * (1 - 2**-0.5) ** 2 / 2
    value = rkd_loss(student, teacher, distance_weight=0, angle_weight=1)
    assert float(value) == pytest.approx((at_the_middle + at_the_ends) / 27)


@pytest.mark.parametrize("dims", [4, 7])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_value_and_gradient_equal_the_loop(scale: float, dims: int) -> None:
    """The teacher's rows may be of another width."""
    student, teacher = rows(5, 4, seed=1, scale=scale).requires_grad_(), rows(5, dims, seed=2, scale=scale)
    expected = value_and_gradient(_by_loop(student, teacher, 25.0, 50.0), student)
    assert_close(value_and_gradient(rkd_loss(student, teacher), student), expected, rtol=1e-6, atol=1e-6)


def test_loss_is_zero_and_flat_at_agreement() -> None:
    """Up to a turn, a shift and a scale of the whole batch."""
    teacher = rows(5, 4)
    turn = torch.linalg.qr(rows(4, 4, seed=3)).Q
    student = (3 * teacher @ turn + 2).requires_grad_()
    value, gradient = value_and_gradient(rkd_loss(student, teacher), student)
    assert float(value) == pytest.approx(0, abs=1e-12)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)
    assert rkd_loss(rows(5, 4, seed=9), teacher) > 1e-2


@pytest.mark.parametrize("student", [torch.zeros(4, 3), torch.tensor([[1.0, 2], [1, 2], [0, 5], [3, 3]])])
def test_samples_that_coincide_have_a_finite_gradient(student: Tensor) -> None:
    """A root has no slope at 0; an untrained student may well give equal rows."""
    student = student.double().requires_grad_()
    value, gradient = value_and_gradient(rkd_loss(student, rows(4, 3)), student)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("student", "teacher", "name"),
    [
        (torch.zeros(1, 3), torch.zeros(1, 3), "student_logits"),
        (torch.zeros(4), torch.zeros(4), "student_logits"),
        (torch.zeros(4, 3), torch.zeros(3, 3), "teacher_logits"),
        (torch.zeros(4, 3), torch.zeros(4, 3, 1), "teacher_logits"),
    ],
)
def test_bad_shape_is_refused_by_name(student: Tensor, teacher: Tensor, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got"):
        rkd_loss(student, teacher)
