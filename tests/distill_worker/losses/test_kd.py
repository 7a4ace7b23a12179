"""KD against its formula, sample by sample."""

from math import log

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import kd_loss
from tests.distill_worker.losses.comparisons import divergence, value_and_gradient


def _logits(batch: int = 4, classes: int = 5, scale: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = scale * torch.randn(2, batch, classes, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher


def _by_loop(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return torch.stack(
        [temperature**2 * divergence(z / temperature, s / temperature) for s, z in zip(student, teacher, strict=True)]
    ).mean()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_value_by_hand(temperature: float) -> None:
    """Teacher (3/4, 1/4) at this temperature, student (1/2, 1/2): KL = ln 2 + 3/4 ln 3/4 + 1/4 ln 1/4."""
    teacher = torch.tensor([[temperature * log(3), 0.0]], dtype=torch.float64)
    loss = kd_loss(torch.zeros(1, 2, dtype=torch.float64), teacher, temperature=temperature)
    assert float(loss) == pytest.approx(temperature**2 * (log(2) + 0.75 * log(0.75) + 0.25 * log(0.25)), rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 300.0, 3000.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_value_and_gradient_equal_the_loop(scale: float, temperature: float) -> None:
    student, teacher = _logits(scale=scale)
    expected = value_and_gradient(_by_loop(student, teacher, temperature), student)
    assert_close(value_and_gradient(kd_loss(student, teacher, temperature=temperature), student), expected)


def test_loss_is_zero_and_flat_at_agreement() -> None:
    """Agreement is up to one constant for each sample; anything else costs."""
    _, teacher = _logits()
    student = (teacher + torch.arange(4.0, dtype=torch.float64)[:, None]).requires_grad_()
    value, gradient = value_and_gradient(kd_loss(student, teacher), student)
    assert float(value) == pytest.approx(0, abs=1e-12)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    assert kd_loss(teacher + torch.arange(5.0), teacher) > 1e-3


def test_log_probabilities_give_the_same_value() -> None:
    student, teacher = _logits(scale=5)
    expected = kd_loss(student, teacher)
    assert_close(kd_loss(student, teacher.log_softmax(1)), expected)
    assert_close(kd_loss(student.log_softmax(1), teacher), expected)


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = _logits()
    teacher.requires_grad_()
    kd_loss(student, teacher).backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None


def test_gradient_equals_finite_differences() -> None:
    student, teacher = _logits()
    assert torch.autograd.gradcheck(lambda logits: kd_loss(logits, teacher, temperature=2.0), student)


@pytest.mark.parametrize(
    ("student", "teacher", "temperature", "name"),
    [
        (torch.zeros(4), torch.zeros(4), 4.0, "student_logits"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3), 4.0, "student_logits"),
        (torch.zeros(0, 3), torch.zeros(0, 3), 4.0, "student_logits"),
        (torch.zeros(2, 3), torch.zeros(1, 3), 4.0, "teacher_logits"),
        (torch.zeros(2, 3), torch.zeros(2, 1), 4.0, "teacher_logits"),
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64), 4.0, "teacher_logits"),
        (torch.zeros(2, 3), torch.zeros(2, 3), 0.0, "temperature"),
        (torch.zeros(2, 3), torch.zeros(2, 3), -1.0, "temperature"),
        (torch.zeros(2, 3), torch.zeros(2, 3), float("nan"), "temperature"),
        (torch.zeros(2, 3), torch.zeros(2, 3), float("inf"), "temperature"),
    ],
)
def test_bad_argument_is_refused_by_name(student: Tensor, teacher: Tensor, temperature: float, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        kd_loss(student, teacher, temperature=temperature)


def test_bfloat16_under_autocast_gives_what_float32_gives() -> None:
    """Near agreement the loss is far below what bfloat16 can resolve, so it must not be computed in it."""
    student, teacher = (logits.detach().float() for logits in _logits(batch=8))
    rounded = teacher.bfloat16()
    for given in (rounded, student.bfloat16()):
        expected = kd_loss(given.float(), teacher)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_close(kd_loss(given, teacher).float(), expected, rtol=1e-3, atol=1e-6)
