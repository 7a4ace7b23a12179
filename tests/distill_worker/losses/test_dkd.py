"""DKD against the paper's formula, class by class."""

from math import log

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import dkd_loss, kd_loss
from tests.distill_worker.losses.comparisons import value_and_gradient
from tests.distill_worker.losses.oracles import mean, rows, softmax

LABELS = torch.tensor([2, 0, 4, 1])


def _by_loop(student: Tensor, teacher: Tensor, temperature: float, alpha: float, beta: float) -> Tensor:
    """Zhao et al. 2022, equations (1), (2), (6) and (7): b = [p_t, 1 - p_t], and p-hat_i = p_i / sum of the others."""
    values = []
    for s, z, label in zip(student, teacher, LABELS.tolist(), strict=True):
        p, q = softmax(z / temperature), softmax(s / temperature)
        others = [index for index in range(len(p)) if index != label]
        p_others, q_others = (torch.stack([side[index] for index in others]).sum() for side in (p, q))
        target = p[label] * (p[label] / q[label]).log() + p_others * (p_others / q_others).log()
        among = [p[i] / p_others * ((p[i] / p_others) / (q[i] / q_others)).log() for i in others]
        values.append(temperature**2 * (alpha * target + beta * torch.stack(among).sum()))
    return mean(values)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_value_by_hand(temperature: float) -> None:
    """The teacher (1/2, 3/8, 1/8) for class 0, the student even: 1/2 against 1/3, and (3/4, 1/4) against (1/2, 1/2)."""
    teacher = temperature * torch.tensor([[log(4), log(3), 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 3, dtype=torch.float64)
    target = 0.5 * log(0.5 / (1 / 3)) + 0.5 * log(0.5 / (2 / 3))
    others = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)
    value = dkd_loss(student, teacher, torch.tensor([0]), temperature=temperature, alpha=2, beta=3)
    assert float(value) == pytest.approx(temperature**2 * (2 * target + 3 * others), rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_value_and_gradient_equal_the_loop(scale: float, temperature: float) -> None:
    student, teacher = rows(4, 5, seed=1, scale=scale).requires_grad_(), rows(4, 5, seed=2, scale=scale)
    expected = value_and_gradient(_by_loop(student, teacher, temperature, 1.5, 6.0), student)
    given = dkd_loss(student, teacher, LABELS, temperature=temperature, alpha=1.5, beta=6.0)
    assert_close(value_and_gradient(given, student), expected, rtol=1e-6, atol=1e-6)


def test_logits_far_apart_stay_finite() -> None:
    """Where the true class is all but certain, 1 - p is 0 in any dtype."""
    student, teacher = rows(4, 5, seed=1, scale=3000).requires_grad_(), rows(4, 5, seed=2, scale=3000)
    value, gradient = value_and_gradient(dkd_loss(student, teacher, LABELS, temperature=1.0), student)
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_kd_is_the_case_that_weighs_the_others_by_their_share() -> None:
    """Equation (7): KD = TCKD + (1 - p_t) NCKD, sample by sample."""
    student, teacher = rows(1, 5, seed=1), rows(1, 5, seed=2)
    label = torch.tensor([3])
    share = 1 - float((teacher / 4).softmax(1)[0, 3])
    assert_close(dkd_loss(student, teacher, label, alpha=1, beta=share), kd_loss(student, teacher))


def test_loss_is_zero_and_flat_at_agreement() -> None:
    """Up to one constant for each sample."""
    teacher = rows(4, 5)
    student = (teacher + torch.arange(4.0)[:, None]).requires_grad_()
    value, gradient = value_and_gradient(dkd_loss(student, teacher, LABELS), student)
    assert float(value) == pytest.approx(0, abs=1e-12)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    assert dkd_loss(teacher + torch.arange(5.0), teacher, LABELS) > 1e-3


@pytest.mark.parametrize(
    "labels", [torch.zeros(3, dtype=torch.int64), torch.zeros(4), torch.zeros(4, 1, dtype=torch.int64)]
)
def test_bad_labels_are_refused_by_name(labels: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^labels: expected int64 \[4\], got"):
        dkd_loss(rows(4, 5), rows(4, 5), labels)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_temperature_is_refused_by_name(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"^temperature: expected"):
        dkd_loss(rows(4, 5), rows(4, 5), LABELS, temperature=temperature)
