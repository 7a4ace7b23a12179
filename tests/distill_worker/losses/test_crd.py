"""CRD against the paper's formula, sample by sample and negative by negative."""

from math import exp, log
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

from distill_worker.losses import crd_loss, crd_normaliser
from tests.distill_worker.losses.comparisons import value_and_gradient
from tests.distill_worker.losses.oracles import dot, rows

SAMPLES = 9
CONTRAST = torch.tensor([[0, 3, 8, 3, 5], [4, 1, 2, 0, 7], [8, 8, 1, 6, 2]])
"""Each row's own sample first; a negative may be drawn twice, or be the sample itself."""


def _given(dims: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    student, teacher = (normalize(rows(3, dims, seed=seed)) for seed in (1, 2))
    student_memory, teacher_memory = (normalize(rows(SAMPLES, dims, seed=seed)) for seed in (3, 4))
    return student.requires_grad_(), teacher, student_memory, teacher_memory


def _by_loop(
    student: Tensor, teacher: Tensor, student_memory: Tensor, teacher_memory: Tensor, z_s: float, z_t: float, t: float
) -> Tensor:
    """Tian et al. 2020, equation (10) with the critic of equation (19), h = p / (p + m / n), each way and summed.

    log h of the sample's own pair plus the sum of log(1 - h) over its m negatives, averaged over the batch.
    """
    negatives = CONTRAST.shape[1] - 1
    noise = negatives / SAMPLES
    total = []
    for anchors, memory, normaliser in ((student, teacher_memory, z_s), (teacher, student_memory, z_t)):
        for anchor, drawn in zip(anchors, CONTRAST.tolist(), strict=True):
            p = [(dot(anchor, memory[row]) / t).exp() / normaliser for row in drawn]
            total.append((p[0] / (p[0] + noise + 1e-7)).log())
            total += [(noise / (value + noise + 1e-7)).log() for value in p[1:]]
    return -torch.stack(total).sum() / len(student)


def test_value_by_hand() -> None:
    """One sample, one negative of two: its own pair at cosine 1, the negative at 0, temperature 1, constant 2."""
    own, other = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    memory = torch.cat([own, other])
    value = crd_loss(
        own, own, memory, memory, torch.tensor([[0, 1]]), student_normaliser=2, teacher_normaliser=2, temperature=1.0
    )
    p_own, p_other, noise = exp(1) / 2, 0.5, 0.5
    one_way = -(log(p_own / (p_own + noise)) + log(noise / (p_other + noise)))
    assert float(value) == pytest.approx(2 * one_way, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_value_and_gradient_equal_the_loop(temperature: float) -> None:
    given = _given()
    expected = _by_loop(*given, 20.0, 30.0, temperature)
    value = crd_loss(*given, CONTRAST, student_normaliser=20.0, teacher_normaliser=30.0, temperature=temperature)
    assert_close(value_and_gradient(value, given[0]), value_and_gradient(expected, given[0]), rtol=1e-6, atol=1e-6)


def test_gradient_reaches_both_embeddings_and_no_memory() -> None:
    """The teacher's embedding is learned too; what is remembered is not."""
    given = _given()
    for side in given[1:]:
        side.requires_grad_()
    crd_loss(*given, CONTRAST, student_normaliser=20.0, teacher_normaliser=30.0).backward()  # type: ignore[no-untyped-call]
    assert [side.grad is not None for side in given] == [True, True, False, False]


def test_own_pair_that_agrees_costs_less_than_one_that_does_not() -> None:
    """Moving the student's embedding towards its own row of the teacher's memory lowers the loss."""
    student, teacher, student_memory, teacher_memory = (side.detach() for side in _given())

    def loss(rows_of_student: Tensor) -> float:
        value = crd_loss(
            rows_of_student,
            teacher,
            student_memory,
            teacher_memory,
            CONTRAST,
            student_normaliser=20.0,
            teacher_normaliser=20.0,
        )
        return float(value)

    towards, away = (normalize(student + step * teacher_memory[CONTRAST[:, 0]]) for step in (0.5, -0.5))
    assert loss(towards) < loss(student) < loss(away)


def test_normaliser_is_the_mean_over_what_was_drawn_times_the_samples() -> None:
    student, _, _, memory = _given()
    scores = [
        (dot(anchor, memory[row]) / 0.5).exp()
        for anchor, drawn in zip(student, CONTRAST.tolist(), strict=True)
        for row in drawn
    ]
    assert_close(
        crd_normaliser(student, memory, CONTRAST, temperature=0.5), torch.stack(scores).mean().detach() * SAMPLES
    )


@pytest.mark.parametrize(
    ("position", "bad", "name"),
    [
        (0, torch.zeros(3), "student_embeddings"),
        (1, torch.zeros(3, 5), "teacher_embeddings"),
        (1, torch.zeros(3, 4, dtype=torch.int64), "teacher_embeddings"),
        (2, torch.zeros(9, 5), "student_memory"),
        (3, torch.zeros(8, 4), "teacher_memory"),
        (4, torch.zeros(2, 5, dtype=torch.int64), "contrast"),
        (4, torch.zeros(3, 1, dtype=torch.int64), "contrast"),
    ],
)
def test_bad_shape_is_refused_by_name(position: int, bad: Tensor, name: str) -> None:
    given: list[Any] = [*_given(), CONTRAST]
    given[position] = bad
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got"):
        crd_loss(*given, student_normaliser=1.0, teacher_normaliser=1.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf")])
def test_bad_temperature_is_refused_by_name(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"^temperature: expected"):
        crd_loss(*_given(), CONTRAST, student_normaliser=1.0, teacher_normaliser=1.0, temperature=temperature)
