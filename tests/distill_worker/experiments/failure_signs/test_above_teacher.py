"""A student that is above its teacher."""

from scipy.stats import binom

from distill_worker.data.agreement import Counts
from distill_worker.experiments.failure_signs.above_teacher import CLEARLY, above_answers, above_teacher
from tests.distill_worker.experiments.failure_signs.planted import planted


def test_row_above_its_teacher_is_named() -> None:
    sign = above_teacher(planted({("KD", 50): [90, 91], ("CKD", 50): [80, 81]}, teacher=85))
    assert sign is not None
    assert "which has 85.0 %: KD has 90.5 % at n = 50. " in sign


def test_row_at_the_bound_is_silent() -> None:
    """In the mean, and with every seed."""
    assert above_teacher(planted({("KD", 50): [85 + CLEARLY - 0.1] * 2}, teacher=85)) is None
    assert above_teacher(planted({("KD", 50): [85 + CLEARLY + 0.1] * 2}, teacher=85)) is not None
    assert above_teacher(planted({("KD", 50): [84.9, 95]}, teacher=85)) is None


def test_row_without_a_teacher_and_unstated_accuracy_are_silent() -> None:
    assert above_teacher(planted({("CE", 50): [90]}, teacher=85, calls=0)) is None
    assert above_teacher(planted({("KD", 50): [90]})) is None


def test_student_above_the_answers_that_it_learned_from() -> None:
    """The test is the exact binomial one, two points below the student's 92 %."""
    last = max(count for count in range(200) if binom.cdf(count, 200, 0.9) < 1e-4)
    sign = above_answers(0.92, Counts(last, 200, 10))
    assert sign is not None
    assert f"92.0 % of the test images right, and its teacher {last / 2:.1f} % of the 200 bought samples. " in sign
    assert above_answers(0.92, Counts(last + 1, 200, 10)) is None
    assert above_answers(0.0, Counts(0, 200, 10)) is None
