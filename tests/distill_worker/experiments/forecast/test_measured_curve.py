"""What a curve is read from, and the curves that cannot be extended."""

from typing import Any

import numpy as np
import pytest

from distill_worker.errors import CheckFailed, ConfigError
from distill_worker.experiments.forecast.measured_curve import MeasuredCurve, curve_of
from tests.distill_worker.experiments.forecast.curves import exact, measured


def _facts(accuracies: dict[str, dict[int, list[float]]]) -> dict[str, Any]:
    return {
        "results": [
            {"method": method, "n": n, "seed": seed, "accuracy": accuracy}
            for method, by_n in accuracies.items()
            for n, of_n in by_n.items()
            for seed, accuracy in enumerate(of_n)
        ]
    }


KD = {40: [0.8, 0.84], 20: [0.7, 0.7], 10: [0.6, 0.5]}


def test_sizes_ascend_and_seeds_are_rows() -> None:
    curve = curve_of(_facts({"CE": {10: [0.1]}, "KD": KD}), "KD", source="r.json")
    assert (curve.sizes, curve.largest, curve.seeds) == ((10, 20, 40), 40, 2)
    assert curve.errors == pytest.approx(np.array([[0.4, 0.3, 0.2], [0.5, 0.3, 0.16]]))
    assert curve.means == pytest.approx([0.45, 0.3, 0.18])
    assert curve.up_to(25).sizes == (10, 20)
    assert curve_of(_facts({"KD": KD}), source="r.json").method == "KD"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (None, r"--method: expected the label of a row of r\.json: CE, KD"),
        ("X", "--method: expected one of CE, KD, got 'X'"),
    ],
)
def test_row_must_be_named(method: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        curve_of(_facts({"CE": KD, "KD": KD}), method, source="r.json")


def test_seeds_are_as_many_at_each_size() -> None:
    with pytest.raises(ConfigError, match=r"r\.json: expected as many seeds of KD at each size"):
        curve_of(_facts({"KD": {10: [0.5, 0.5], 20: [0.6]}}), source="r.json")


def test_spread_is_counted_in_shares_of_the_error() -> None:
    """By hand: errors of 0.4 and 0.5 deviate by 1/9 of their mean, times the root of 2 for two seeds."""
    curve = MeasuredCurve("KD", (10, 20), np.array([[0.4, 0.3], [0.5, 0.3]]))
    ninth = np.sqrt(2) / 9
    assert curve.deviations == pytest.approx([-ninth, 0, 0, ninth])
    assert curve.variances == pytest.approx((ninth**2 / 2) * np.array([0.45, 0.3]) ** 2 / 2 + 0.001**2)


def test_students_without_an_error_have_a_variance() -> None:
    curve = MeasuredCurve("KD", (10, 20), np.zeros((2, 2)))
    assert np.isfinite(curve.deviations).all()
    assert curve.variances == pytest.approx([1e-6, 1e-6])


def test_too_few_sizes_or_seeds_are_no_curve() -> None:
    with pytest.raises(ConfigError, match=r"forecast: expected KD at 4 sizes or more, got 3 \(60, 125, 250\)"):
        measured(0.1, 2, -0.5).up_to(250).check()
    with pytest.raises(ConfigError, match=r"forecast: expected 2 seeds or more, .* got 1"):
        measured(0.1, 2, -0.5, seeds=1).check()


def test_error_that_rises_beyond_the_spread_is_not_monotone() -> None:
    """The sizes are named, also if a size lies between them."""
    with pytest.raises(
        CheckFailed, match=r"not monotone: KD has 75\.0% with 125 samples and less with 500: 70\.0%\. The spread"
    ):
        exact([0.4, 0.25, 0.26, 0.3]).check()


def test_rise_within_the_spread_is_tolerated() -> None:
    exact([0.4, 0.25, 0.251, 0.2]).check()
    exact([0.25, 0.25, 0.25, 0.25]).check()
    for seed in range(20):
        measured(0.2, 0.5, -0.5, seed=seed).check()
