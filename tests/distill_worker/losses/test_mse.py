"""Logit regression against its formula, one logit at a time."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import logit_variance, mse_loss
from tests.distill_worker.losses.comparisons import value_and_gradient
from tests.distill_worker.losses.oracles import dot, mean, rows


def centred(scores: Tensor) -> Tensor:
    """One sample's logits less their mean."""
    return torch.stack([score - mean(list(scores)) for score in scores])


def _by_loop(student: Tensor, teacher: Tensor, variance: float) -> Tensor:
    each = [
        dot(centred(s) - centred(z), centred(s) - centred(z)) / variance for s, z in zip(student, teacher, strict=True)
    ]
    return mean(each)


def test_value_by_hand() -> None:
    """(5, 1) is centred to (2, -2) and (0, 2) to (-1, 1): two squares of 9, divided by 4."""
    student, teacher = torch.tensor([[0.0, 2.0]]), torch.tensor([[5.0, 1.0]])
    assert float(mse_loss(student, teacher)) == 18
    assert float(mse_loss(student, teacher, variance=4.0)) == 18 / 4
    assert float(logit_variance(teacher)) == 4


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_value_and_gradient_equal_the_loop(scale: float) -> None:
    student, teacher = rows(4, 5, seed=1, scale=scale).requires_grad_(), rows(4, 5, seed=2, scale=scale)
    expected = value_and_gradient(_by_loop(student, teacher, 2.5), student)
    assert_close(value_and_gradient(mse_loss(student, teacher, variance=2.5), student), expected)


def test_loss_is_zero_and_flat_at_agreement() -> None:
    """Agreement is up to one constant for each sample; another scale costs."""
    teacher = rows(4, 5)
    student = (teacher + torch.arange(4.0)[:, None]).requires_grad_()
    value, gradient = value_and_gradient(mse_loss(student, teacher), student)
    assert float(value) == pytest.approx(0, abs=1e-12)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    assert mse_loss(2 * teacher, teacher) > 1e-3


def test_divided_by_the_variance_the_loss_does_not_depend_on_the_scale() -> None:
    """It is the number of classes, if the student's logits are all alike."""
    student, teacher = rows(8, 5, seed=1), rows(8, 5, seed=2)
    expected = mse_loss(student, teacher, variance=logit_variance(teacher))
    assert_close(mse_loss(50 * student, 50 * teacher, variance=logit_variance(50 * teacher)), expected)
    alike = torch.zeros_like(teacher)
    assert float(mse_loss(alike, teacher, variance=logit_variance(teacher))) == pytest.approx(5)


def test_variance_is_that_of_the_centred_logits() -> None:
    """Of all samples and classes; log-probabilities have the same."""
    teacher = 3 * rows(6, 4)
    expected = mean([score**2 for row in teacher for score in centred(row)])
    assert_close(logit_variance(teacher), expected)
    assert_close(logit_variance(teacher.log_softmax(1)), expected)
    assert logit_variance(teacher.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("classes", [2, 3, 7, 10, 64, 100, 1000])
def test_variance_of_outputs_that_are_all_alike_is_safe_to_divide_by(classes: int) -> None:
    """Equal log-probabilities have a mean that is rounded; no digit of it must count as their variance."""
    alike = torch.zeros(3, classes).log_softmax(1)
    assert float(logit_variance(alike)) == 1
    assert float(mse_loss(alike, alike, variance=logit_variance(alike))) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("variance", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_variance_is_refused_by_name(variance: float) -> None:
    with pytest.raises(ValueError, match=r"^variance: expected a positive finite number, got"):
        mse_loss(rows(2, 3), rows(2, 3), variance=variance)
