"""A row whose accuracy does not grow with n."""

from distill_worker.experiments.failure_signs.flat_curve import EXPONENT, GROWTH, ROOM, flat_curve
from tests.distill_worker.experiments.failure_signs.planted import planted


def test_flat_row_is_named_with_its_figures() -> None:
    """It stays at 60 % from 100 to 2,000 samples, and the other row does not."""
    flat = {("flat", 100): [60, 60.2], ("flat", 2000): [60.3, 60.1]}
    sign = flat_curve(planted({**flat, ("KD", 100): [60, 61], ("KD", 2000): [80, 81]}))
    assert sign is not None
    assert "n grows: flat has 60.1 % at n = 100 and 60.2 % at n = 2,000. " in sign
    assert "training.steps" in sign


def test_falling_row_is_flat() -> None:
    assert flat_curve(planted({("KD", 100): [60], ("KD", 400): [50]})) is not None


def test_row_at_the_bound_is_silent() -> None:
    """At 4 times n the room of 40 points must shrink to 40 x 4^-0.05: it grows by 2.68 points."""
    least = 40 * (1 - 4**-EXPONENT)
    assert flat_curve(planted({("KD", 100): [60], ("KD", 400): [60 + least + 0.01]})) is None
    assert flat_curve(planted({("KD", 100): [60], ("KD", 400): [60 + least - 0.01]})) is not None


def test_sizes_that_are_close_are_silent() -> None:
    assert flat_curve(planted({("KD", 100): [60], ("KD", round(100 * GROWTH) - 1): [60]})) is None


def test_student_that_is_as_good_as_its_teacher_is_silent() -> None:
    flat = {("KD", 100): [80.0], ("KD", 2000): [80.0]}
    assert flat_curve(planted(flat, teacher=80 + ROOM - 0.1)) is None
    assert flat_curve(planted(flat, teacher=80 + ROOM + 0.1)) is not None
