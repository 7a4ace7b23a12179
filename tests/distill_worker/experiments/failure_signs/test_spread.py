"""A row whose seeds differ too much."""

from distill_worker.experiments.failure_signs.spread import MOST_POINTS, wide_spread
from tests.distill_worker.experiments.failure_signs.planted import planted


def test_seed_that_failed_is_named() -> None:
    """The standard deviation of 80, 10 and 81 is 40.7."""
    sign = wide_spread(planted({("CKD", 50): [80, 10, 81], ("KD", 50): [80, 80, 81]}))
    assert sign is not None
    assert ": CKD at n = 50 has 40.7, from 10.0 % (seed 1) to 81.0 % (seed 2). " in sign


def test_spread_at_the_bound_is_silent() -> None:
    """Values m - d, m and m + d have the standard deviation d."""
    assert wide_spread(planted({("KD", 50): [70 - MOST_POINTS + 0.01, 70, 70 + MOST_POINTS - 0.01]})) is None
    assert wide_spread(planted({("KD", 50): [70 - MOST_POINTS - 0.01, 70, 70 + MOST_POINTS + 0.01]})) is not None


def test_two_seeds_are_silent() -> None:
    assert wide_spread(planted({("KD", 50): [10, 80]})) is None


def test_further_cases_are_counted() -> None:
    sign = wide_spread(planted({(f"row {number}", 50): [10, 80, 81] for number in range(5)}))
    assert sign is not None
    assert "; and 2 more. " in sign
    assert "row 3" not in sign
