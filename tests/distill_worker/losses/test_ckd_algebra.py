"""What CKD is, as algebra: what it sees, what it is blind to, and what it becomes."""

from collections.abc import Callable
from math import sqrt

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import centroid_ckd_loss, ckd_loss, cross_ckd_loss, draw_groups, drawn_ckd_loss, kd_loss
from distill_worker.losses.comparisons import Comparison
from tests.distill_worker.losses.comparisons import value_and_gradient
from tests.distill_worker.losses.oracles import mean, rows

STUDENT, TEACHER = rows(8, 5, seed=1, scale=3), rows(8, 5, seed=2, scale=3)
SHARED = rows(1, 5, seed=3)
"""One vector over the classes, the same for all samples."""
GROUPS = draw_groups(8, 3, 20, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("comparison", ["difference", "addition", "interpolation", "concatenation"])
def test_log_probabilities_are_as_good_as_logits(comparison: Comparison) -> None:
    """A constant a sample is seen by no comparison, in no pairing, on neither side."""
    pairings: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda s, z: ckd_loss(s, z, comparison=comparison),
        lambda s, z: centroid_ckd_loss(s, z, GROUPS, comparison=comparison),
        lambda s, z: drawn_ckd_loss(s, z, GROUPS, comparison=comparison),
        lambda s, z: cross_ckd_loss(s, z, z, z, comparison=comparison),
    ]
    for loss in pairings:
        expected = loss(STUDENT, TEACHER)
        assert_close(loss(STUDENT.log_softmax(1), TEACHER), expected)
        assert_close(loss(STUDENT, TEACHER.log_softmax(1)), expected)


def test_differences_are_blind_to_a_vector_shared_by_all_samples() -> None:
    """In every pairing within the student's outputs; so cross-entropy, KD or anchors have to fix that vector."""
    for loss in (
        ckd_loss,
        lambda s, z: centroid_ckd_loss(s, z, GROUPS),
        lambda s, z: drawn_ckd_loss(s, z, GROUPS),
    ):
        assert_close(loss(STUDENT + SHARED, TEACHER), loss(STUDENT, TEACHER))
    assert ckd_loss(TEACHER + SHARED, TEACHER) < 1e-12
    assert kd_loss(TEACHER + SHARED, TEACHER) > 1e-2
    assert cross_ckd_loss(TEACHER + SHARED, TEACHER, TEACHER, TEACHER) > 1e-2


@pytest.mark.parametrize("comparison", ["addition", "interpolation", "concatenation"])
def test_other_comparisons_see_the_shared_vector(comparison: Comparison) -> None:
    assert ckd_loss(TEACHER + SHARED, TEACHER, comparison=comparison) > 1e-2


def test_matching_all_differences_fixes_all_but_constants_and_one_vector() -> None:
    """Minimised from anywhere, the student less the teacher is a column of constants plus one row."""
    student = STUDENT.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([student], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = ckd_loss(student, TEACHER)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    left = student.detach() - TEACHER
    left = left - left.mean(dim=1, keepdim=True)
    assert (left - left.mean(dim=0)).abs().max() < 1e-3
    assert left.mean(dim=0).abs().max() > 0.1, "the free vector is wherever the student began"


def test_drawn_pairs_estimate_the_mean_over_all_pairs() -> None:
    """20,000 drawn pairs, within five standard errors; exactly, where every pair is drawn once."""
    everyone = torch.tensor([[i, j] for i in range(8) for j in range(8) if i != j])
    assert_close(drawn_ckd_loss(STUDENT, TEACHER, everyone), ckd_loss(STUDENT, TEACHER))
    drawn = draw_groups(8, 2, 20_000, torch.Generator().manual_seed(1))
    each = torch.stack([drawn_ckd_loss(STUDENT, TEACHER, pair[None]) for pair in everyone])
    error = float(each.std()) / sqrt(20_000)
    estimate = float(drawn_ckd_loss(STUDENT, TEACHER, drawn) - ckd_loss(STUDENT, TEACHER))
    assert abs(estimate) < 5 * error


def test_warm_limit_is_the_squared_difference_of_centred_differences() -> None:
    """T -> infinity: |centred(z_i - z_j) - centred(s_i - s_j)|^2 / (2 C), with an error that falls as 1 / T."""
    limits = []
    for i in range(8):
        for j in range(8):
            if i != j:
                gap = (TEACHER[i] - TEACHER[j]) - (STUDENT[i] - STUDENT[j])
                limits.append((gap - gap.mean()).square().sum() / (2 * 5))
    limit = mean(limits)
    errors = [abs(float(ckd_loss(STUDENT, TEACHER, temperature=t) / limit - 1)) for t in (100.0, 1000.0, 10_000.0)]
    assert errors[0] < 0.1
    assert errors[1] < errors[0] / 5
    assert errors[2] < 1e-3


def test_kd_against_a_uniform_anchor_is_kd() -> None:
    """An anchor whose logits are all equal leaves z_i - z_j = z_i up to a constant: the comparison is KD itself."""
    uniform = torch.zeros(1, 5, dtype=torch.float64)
    assert_close(cross_ckd_loss(STUDENT, TEACHER, uniform, uniform), kd_loss(STUDENT, TEACHER))


def test_gradient_of_each_sample_sums_to_zero_over_classes_and_of_differences_over_samples() -> None:
    """The directions that the loss is blind to carry no gradient."""
    student = STUDENT.clone().requires_grad_()
    _, gradient = value_and_gradient(ckd_loss(student, TEACHER), student)
    assert_close(gradient.sum(dim=1), torch.zeros(8, dtype=torch.float64), atol=1e-12, rtol=0)
    assert_close(gradient.sum(dim=0), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)
