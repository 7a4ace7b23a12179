"""DIST against the paper's formula, correlation by correlation."""

from math import log

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import dist_loss
from tests.distill_worker.losses.comparisons import value_and_gradient
from tests.distill_worker.losses.oracles import mean, rows, softmax


def _pearson(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Huang et al. 2022, equation (5)."""
    centre_first, centre_second = mean(first), mean(second)
    products = [(a - centre_first) * (b - centre_second) for a, b in zip(first, second, strict=True)]
    spreads = [
        torch.stack([(value - centre) ** 2 for value in side]).sum()
        for side, centre in ((first, centre_first), (second, centre_second))
    ]
    return torch.stack(products).sum() / (spreads[0] * spreads[1]).sqrt()


def _by_loop(student: Tensor, teacher: Tensor, temperature: float, inter_weight: float, intra_weight: float) -> Tensor:
    """Huang et al. 2022, equations (7) (rows), (9) (columns) and (10) (their sum), with the code's T^2."""
    p, q = ([softmax(row / temperature) for row in side] for side in (teacher, student))
    inter = mean([1 - _pearson(ours, theirs) for ours, theirs in zip(q, p, strict=True)])
    classes = range(student.shape[1])
    intra = mean([1 - _pearson([row[c] for row in q], [row[c] for row in p]) for c in classes])
    return temperature**2 * (inter_weight * inter + intra_weight * intra)


def test_value_by_hand() -> None:
    """Two classes and two samples, turned round: every correlation is -1, so each distance is 2."""
    teacher = torch.tensor([[log(3), 0.0], [0.0, log(3)]], dtype=torch.float64)
    assert float(dist_loss(-teacher, teacher, temperature=1.0)) == pytest.approx(4, rel=1e-6)
    assert float(dist_loss(-teacher, teacher, temperature=2.0, inter_weight=3, intra_weight=0)) == pytest.approx(24)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_value_and_gradient_equal_the_loop(scale: float, temperature: float, weights: tuple[float, float]) -> None:
    student, teacher = rows(4, 5, seed=1, scale=scale).requires_grad_(), rows(4, 5, seed=2, scale=scale)
    expected = value_and_gradient(_by_loop(student, teacher, temperature, *weights), student)
    given = dist_loss(student, teacher, temperature=temperature, inter_weight=weights[0], intra_weight=weights[1])
    assert_close(value_and_gradient(given, student), expected, rtol=1e-6, atol=1e-6)


def test_loss_is_zero_and_flat_at_agreement() -> None:
    """Up to one constant for each sample; and a correlation asks for no equal scale of the probabilities."""
    teacher = rows(4, 5)
    student = (teacher + torch.arange(4.0)[:, None]).requires_grad_()
    value, gradient = value_and_gradient(dist_loss(student, teacher), student)
    assert float(value) == pytest.approx(0, abs=1e-9)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)
    assert dist_loss(teacher + torch.arange(5.0), teacher) > 1e-2


def test_row_that_does_not_vary_has_no_correlation() -> None:
    """And a finite gradient: an untrained student may start there."""
    student, teacher = torch.zeros(4, 5, dtype=torch.float64, requires_grad=True), rows(4, 5)
    value, gradient = value_and_gradient(dist_loss(student, teacher, temperature=1.0), student)
    assert float(value) == pytest.approx(2)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("batch", "temperature", "name"), [(1, 4.0, "student_logits"), (4, 0.0, "temperature")])
def test_bad_argument_is_refused_by_name(batch: int, temperature: float, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        dist_loss(rows(batch, 5), rows(batch, 5), temperature=temperature)
