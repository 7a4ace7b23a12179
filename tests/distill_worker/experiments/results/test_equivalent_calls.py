"""Equivalent calls: read off curves whose inverse is worked out by hand."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_worker.experiments.results.equivalent_calls import Calls, Curve, equivalents

ROUNDED = 0.051


def _calls(curve: dict[float, float], accuracy: float) -> Calls:
    """By one seed."""
    equivalent = Curve({calls: [value] for calls, value in curve.items()}).equivalent([accuracy])
    assert (equivalent.low, equivalent.high) == (None, None), "one seed has no interval"
    return equivalent.calls


def test_calls_are_interpolated_in_their_logarithm() -> None:
    """Half of the accuracy between 10 and 1000 is reached at 100, their geometric mean."""
    curve = {10.0: 50.0, 1000.0: 70.0}
    assert _calls(curve, 60) == Calls("=", 100)
    assert _calls(curve, 55) == Calls("=", round(10 * sqrt(10), 1))


@pytest.mark.parametrize(("accuracy", "calls"), [(50, 10), (60, 40), (70, 90)])
def test_accuracy_of_the_reference_is_worth_its_own_calls(accuracy: float, calls: float) -> None:
    assert _calls({10: 50, 40: 60, 90: 70}, accuracy) == Calls("=", calls)


def test_nothing_is_extrapolated() -> None:
    assert _calls({10: 50, 40: 60}, 49.9) == Calls("<", 10)
    assert _calls({10: 50, 40: 60}, 60.1) == Calls(">", 40)


def test_rounding_puts_nothing_outside() -> None:
    """Two rows with the same accuracies in another order have the same mean, but for its last bit."""
    curve = Curve({10: [0.05, 0.05, 0.05], 40: [0.3, 0.2, 0.1]})
    assert curve.equivalent([0.1, 0.2, 0.3]).calls == Calls("=", 40)


def test_curve_that_falls_is_levelled_first() -> None:
    """50, 48, 60 become 49, 49, 60: 49 is reached at once, and half of the way to 60 between the last two."""
    curve = {10.0: 50.0, 100.0: 48.0, 1000.0: 60.0}
    assert _calls(curve, 49) == Calls("=", 10)
    assert _calls(curve, 54.5) == Calls("=", round(100 * sqrt(10), 1))
    assert _calls({10: 50, 100: 60, 1000: 58}, 59.5) == Calls(">", 1000)


def test_level_part_is_left_at_its_end() -> None:
    """From 10 to 100 the curve is level, so 55 lies between 100 and 1000."""
    assert _calls({10: 50, 100: 50, 1000: 60}, 55) == Calls("=", round(100 * sqrt(10), 1))


@given(
    st.lists(st.floats(0.1, 5), min_size=5, max_size=5),
    st.lists(st.integers(2, 4000), min_size=6, max_size=6, unique=True),
    st.floats(0, 1),
)
def test_curve_at_the_equivalent_calls_has_the_accuracy(steps: list[float], sizes: list[int], share: float) -> None:
    """Read forwards by NumPy's interpolation."""
    axis, accuracies = sorted(sizes), np.cumsum([50.0, *steps])
    accuracy = float(accuracies[0] + share * (accuracies[-1] - accuracies[0]))
    calls = _calls(dict(zip(map(float, axis), accuracies.tolist(), strict=True)), accuracy)
    ends = [np.interp(log(max(1, calls.value + shift)), np.log(axis), accuracies) for shift in (-ROUNDED, ROUNDED)]
    assert ends[0] - 1e-6 <= accuracy <= ends[1] + 1e-6


def test_interval_is_of_the_same_seeds() -> None:
    """Seeds differ by 20 points, but in each the method is as good as the reference at 100 calls."""
    offsets = [0.0, 20.0, 5.0, 11.0, 2.0]
    curve = Curve({calls: [base + offset for offset in offsets] for calls, base in {10: 50, 100: 60, 900: 65}.items()})
    equivalent = curve.equivalent([60 + offset for offset in offsets])
    assert equivalent.calls == Calls("=", 100)
    for end in (equivalent.low, equivalent.high):
        assert end is not None
        assert end.relation == "="
        assert end.value == pytest.approx(100, abs=0.1)


def test_interval_has_the_seeds_that_are_worse_and_better() -> None:
    """The same at each call, and from seed to seed: the ends are bounds where the draws leave the curve."""
    curve = Curve({10: [50] * 5, 100: [60] * 5, 1000: [65] * 5})
    equivalent = curve.equivalent([56, 58, 60, 62, 64])
    assert equivalent.calls == Calls("=", 100)
    assert equivalent.low is not None
    assert equivalent.high is not None
    assert 30 < equivalent.low.value < 100 < equivalent.high.value < 400
    beyond = curve.equivalent([60, 62, 64, 66, 68])
    assert (beyond.calls.relation, beyond.high) == ("=", Calls(">", 1000))


def test_same_results_have_the_same_interval() -> None:
    accuracies: dict[float, list[float]] = {10: [50.0, 51.0, 53.0], 100: [60.0, 57.0, 59.0]}
    assert Curve(accuracies).equivalent([55, 56, 57]) == Curve(accuracies).equivalent([55, 56, 57])


def test_facts_have_every_method_but_the_reference_at_every_n() -> None:
    """By what each paid: with bought mixtures, more than its n."""
    results = [
        {"method": method, "n": n, "seed": seed, "accuracy": accuracy, "calls": calls}
        for method, n, accuracy, calls in [
            ("KD", 10, 0.5, 10),
            ("KD", 40, 0.6, 40),
            ("KD", 160, 0.7, 160),
            ("mixup", 40, 0.65, 50),
            ("CE", 40, 0.4, 0),
        ]
        for seed in (0, 1)
    ]
    facts = {"n": [40], "reference": "KD", "reference_n": [10, 40, 160], "results": results}
    equal, below = {"relation": "=", "value": 80.0}, {"relation": "<", "value": 10.0}
    assert equivalents(facts) == [
        {"method": "mixup", "n": 40, "paid": 50, "calls": equal, "low": equal, "high": equal},
        {"method": "CE", "n": 40, "paid": 40, "calls": below, "low": below, "high": below},
    ]
