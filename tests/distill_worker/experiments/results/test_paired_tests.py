"""Means, paired tests and their correction, against numbers worked out by hand."""

from math import inf, sqrt

import pytest

from distill_worker.experiments.results.paired_tests import against_baseline, holm, mean_and_deviation


def test_mean_and_deviation_by_hand() -> None:
    assert mean_and_deviation([1.0, 2.0, 6.0]) == pytest.approx((3.0, sqrt(7)))
    assert mean_and_deviation([4.0]) == (4.0, None)


def test_paired_test_by_hand() -> None:
    """Differences 1, 2, 3: t = 2 sqrt 3 with 2 degrees of freedom, whose two-sided p is 1 - t / sqrt(t^2 + 2)."""
    tested = against_baseline({"kd": [10.0, 20.0, 30.0], "ckd": [11.0, 22.0, 33.0]}, "kd")["ckd"]
    t = 2 * sqrt(3)
    assert tested.p_value == pytest.approx(1 - t / sqrt(t**2 + 2))
    assert (tested.difference, tested.wins, tested.seeds) == (2.0, 3, 3)
    assert tested.holm_p_value == tested.p_value
    quantile = 0.95 / sqrt(2 * 0.975 * 0.025)  # of the t distribution with 2 degrees of freedom, at 0.975
    assert (tested.low, tested.high) == pytest.approx((2 - quantile / sqrt(3), 2 + quantile / sqrt(3)))


def test_differences_without_spread_are_tested_by_their_signs() -> None:
    """Of the eight ways to give signs to three differences, two are as far from 0."""
    tested = against_baseline({"kd": [1.0, 2.0, 5.0], "same": [1.0, 2.0, 5.0], "above": [2.0, 3.0, 6.0]}, "kd")
    assert tested["same"].p_value == 1.0
    assert tested["above"].p_value == 2 / 8
    assert tested["same"].wins == 0
    assert [(one.low, one.high) for one in tested.values()] == [(0.0, 0.0), (-inf, inf)]


def test_differences_that_rounding_alone_makes_unequal_are_equal() -> None:
    """0.3 - 0.2 is a little less than 0.9 - 0.8."""
    tested = against_baseline({"kd": [0.2, 0.8], "ckd": [0.3, 0.9]}, "kd")["ckd"]
    assert tested.p_value == 0.5


def test_one_seed_is_not_tested() -> None:
    assert against_baseline({"kd": [1.0], "ckd": [2.0]}, "kd") == {}


def test_holm_by_hand() -> None:
    """0.01 x 4, 0.02 x 3, 0.04 x 2, then 0.03 x ... in the order of size: 0.01, 0.02, 0.03, 0.04."""
    corrected = holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.02})
    assert corrected == pytest.approx({"b": 0.04, "d": 0.06, "c": 0.06, "a": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
