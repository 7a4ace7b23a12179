"""LSKD against the paper's algorithm, sample by sample."""

from math import sqrt

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import kd_loss, lskd_loss
from tests.distill_worker.losses.comparisons import divergence, value_and_gradient
from tests.distill_worker.losses.oracles import mean, rows


def _by_loop(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Sun et al. 2024, algorithm 1 (Z(x) = (x - mean) / std / T) and algorithm 2, with T^2 before the divergence."""

    def standardised(scores: Tensor) -> Tensor:
        centre = mean(list(scores))
        spread = (torch.stack([(score - centre) ** 2 for score in scores]).sum() / (len(scores) - 1)).sqrt()
        return torch.stack([(score - centre) / (spread + 1e-7) for score in scores])

    return mean(
        [
            temperature**2 * divergence(standardised(z) / temperature, standardised(s) / temperature)
            for s, z in zip(student, teacher, strict=True)
        ]
    )


def test_value_by_hand() -> None:
    """(5, 1) has deviation 2 sqrt 2 and becomes (1, -1) / sqrt 2, whatever its scale; the student is the reverse."""
    teacher, student = torch.tensor([[5.0, 1.0]], dtype=torch.float64), torch.tensor([[-20.0, 60.0]]).double()
    p = 1 / (1 + torch.tensor(-sqrt(2) / 3, dtype=torch.float64).exp())
    expected = 9 * (2 * p - 1) * (p / (1 - p)).log()
    assert_close(lskd_loss(student, teacher, temperature=3.0), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_value_and_gradient_equal_the_loop(scale: float, temperature: float) -> None:
    student, teacher = rows(4, 5, seed=1, scale=scale).requires_grad_(), rows(4, 5, seed=2, scale=scale)
    expected = value_and_gradient(_by_loop(student, teacher, temperature), student)
    given = value_and_gradient(lskd_loss(student, teacher, temperature=temperature), student)
    assert_close(given, expected, rtol=1e-6, atol=1e-9)


def test_loss_is_zero_and_flat_at_agreement() -> None:
    """Up to a positive scale and a constant for each sample: that is its point, and KD does not share it."""
    teacher = rows(4, 5)
    student = (torch.arange(1.0, 5)[:, None] * teacher + torch.arange(4.0)[:, None]).requires_grad_()
    value, gradient = value_and_gradient(lskd_loss(student, teacher), student)
    assert float(value) == pytest.approx(0, abs=1e-9)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)
    assert kd_loss(student, teacher) > 1e-3
    assert lskd_loss(-teacher, teacher) > 1e-3


@pytest.mark.parametrize(
    ("classes", "temperature", "name"), [(1, 2.0, "student_logits"), (5, 0.0, "temperature"), (5, -1.0, "temperature")]
)
def test_bad_argument_is_refused_by_name(classes: int, temperature: float, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        lskd_loss(rows(4, classes), rows(4, classes), temperature=temperature)
