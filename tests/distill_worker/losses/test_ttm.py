"""TTM and WTTM against the paper's formula, class by class."""

from collections.abc import Callable
from math import log, sqrt

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import kd_loss, ttm_loss, wttm_loss
from tests.distill_worker.losses.comparisons import value_and_gradient
from tests.distill_worker.losses.oracles import mean, rows, softmax


def _by_loop(student: Tensor, teacher: Tensor, temperature: float, *, weighted: bool) -> Tensor:
    """Zheng and Yang 2024: D(p_t^T || q), p_t^T(i) = p(i)^gamma / U, U = sum p^gamma, gamma = 1 / T; weighted by U.

    The power transform of section 3, the objective of TTM from there, and that of WTTM from section 4.
    """
    values = []
    for s, z in zip(student, teacher, strict=True):
        powers = [p ** (1 / temperature) for p in softmax(z)]
        total = torch.stack(powers).sum()
        terms = [power / total * (power / total / q).log() for power, q in zip(powers, softmax(s), strict=True)]
        values.append(torch.stack(terms).sum() * (total if weighted else 1.0))
    return mean(values)


def test_value_by_hand() -> None:
    """The teacher (9/10, 1/10) at T = 2 is (3/4, 1/4), its power sum 4 / sqrt 10; the student (1/2, 1/2) stays."""
    teacher = torch.tensor([[log(9), 0.0]], dtype=torch.float64)
    student = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    divergence = log(2) + 0.75 * log(0.75) + 0.25 * log(0.25)
    assert float(ttm_loss(student, teacher, temperature=2.0)) == pytest.approx(divergence, rel=1e-12)
    assert float(wttm_loss(student, teacher, temperature=2.0)) == pytest.approx(4 / sqrt(10) * divergence, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_value_and_gradient_equal_the_loop(scale: float, temperature: float, weighted: bool) -> None:
    student, teacher = rows(4, 5, seed=1, scale=scale).requires_grad_(), rows(4, 5, seed=2, scale=scale)
    expected = value_and_gradient(_by_loop(student, teacher, temperature, weighted=weighted), student)
    loss = wttm_loss if weighted else ttm_loss
    given = value_and_gradient(loss(student, teacher, temperature=temperature), student)
    assert_close(given, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", [ttm_loss, wttm_loss])
def test_loss_is_zero_and_flat_where_the_student_is_the_softened_teacher(loss: Callable[..., Tensor]) -> None:
    teacher = rows(4, 5)
    student = (teacher / 4 + torch.arange(4.0)[:, None]).requires_grad_()
    value, gradient = value_and_gradient(loss(student, teacher), student)
    assert float(value) == pytest.approx(0, abs=1e-12)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    assert loss(teacher, teacher) > 1e-3, "equal logits are no agreement: the student is not softened"


def test_temperature_one_is_kd() -> None:
    """And the power sum of probabilities is 1."""
    student, teacher = rows(4, 5, seed=1), rows(4, 5, seed=2)
    expected = kd_loss(student, teacher, temperature=1.0)
    assert_close(ttm_loss(student, teacher, temperature=1.0), expected)
    assert_close(wttm_loss(student, teacher, temperature=1.0), expected)


@pytest.mark.parametrize("loss", [ttm_loss, wttm_loss])
@pytest.mark.parametrize("temperature", [0.0, float("nan")])
def test_bad_temperature_is_refused_by_name(loss: Callable[..., Tensor], temperature: float) -> None:
    with pytest.raises(ValueError, match=r"^temperature: expected"):
        loss(rows(4, 5), rows(4, 5), temperature=temperature)
