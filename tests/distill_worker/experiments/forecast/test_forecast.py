"""Forecasts of curves that are known: how often the band covers, and where there is none."""

from math import log

import numpy as np
import pytest

from distill_worker.errors import CheckFailed, ConfigError
from distill_worker.experiments.forecast.forecast import Forecast
from distill_worker.experiments.forecast.measured_curve import MeasuredCurve
from distill_worker.experiments.forecast.power_law import fitted
from tests.distill_worker.experiments.forecast.curves import SIZES, drawn, exact, law, measured

CLAIMED = 0.8
"""The share of forecasts that docs/forecast.md says are covered."""
DRAWS = 40


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [(0.0, 0.9, -0.2), (0.1, 2.0, -0.5), (0.02, 3.0, -0.5), (0.1, 9.0, -0.9), (0.15, 0.2, -0.5), (0.0, 20.0, -1.0)],
)
def test_band_covers_what_new_students_have(a: float, b: float, c: float) -> None:
    """Students of three seeds, on 1,000 test images: at twice and four times the largest size, more than is claimed."""
    covered = 0
    for seed in range(DRAWS):
        forecast = Forecast(measured(a, b, c, seed=seed))
        later = (1000, 2000)
        new = drawn(law(a, b, c, later), 3, np.random.default_rng(1000 + seed)).mean(axis=0)
        for n, error in zip(later, new, strict=True):
            prediction = forecast.at(n)
            assert 0 <= prediction.low <= prediction.accuracy <= prediction.high <= 1
            covered += prediction.low <= 1 - error <= prediction.high
    assert covered / (2 * DRAWS) >= CLAIMED


@pytest.mark.parametrize("midpoint", [60, 120])
def test_band_covers_curves_of_another_shape(midpoint: int) -> None:
    """Errors that fall slowly, then steeply, then hardly: no power law has this shape, so the band is wide."""
    sizes, later = np.array(SIZES, dtype=np.float64), np.array([1000.0, 2000.0])

    def shape(n: np.ndarray) -> np.ndarray:
        return 0.02 + 0.88 / (1 + (n / midpoint) ** 2)

    covered = 0
    for seed in range(DRAWS):
        forecast = Forecast(MeasuredCurve("KD", SIZES, drawn(shape(sizes), 3, np.random.default_rng(seed))))
        new = drawn(shape(later), 3, np.random.default_rng(1000 + seed)).mean(axis=0)
        predictions = [forecast.at(int(n)) for n in later]
        covered += sum(one.low <= 1 - error <= one.high for one, error in zip(predictions, new, strict=True))
    assert covered / (2 * DRAWS) >= CLAIMED


def test_same_measurements_give_the_same_forecast() -> None:
    first, second = (Forecast(measured(0.1, 2, -0.5)) for _ in range(2))
    assert first.at(900) == second.at(900)
    assert first.calls_for(0.83) == second.calls_for(0.83)


def test_band_is_widened_by_the_miss_of_the_back_test() -> None:
    """The first three sizes predict less than the fourth has: both ends are beyond that miss, and twice at 4 x."""
    errors = np.array([0.5, 0.4, 0.32, 0.2])
    sizes = np.array([50.0, 100.0, 200.0, 400.0])
    curve = exact(errors.tolist(), (50, 100, 200, 400))
    back_test = fitted(sizes[:-1], errors[None, :-1], 1 / curve.variances[:-1])
    miss = abs(back_test.errors(400)[0] - errors[-1])
    assert miss > 0.05
    for n, times in ((800, 1), (1600, 2)):
        prediction = Forecast(curve).at(n)
        assert prediction.accuracy - prediction.low >= times * miss - 1e-9
        assert prediction.high == 1 or prediction.high - prediction.accuracy >= times * miss - 1e-9
    inside = Forecast(curve).at(400)
    assert inside.high - inside.low < 2 * miss * log(2)


def test_band_grows_with_the_distance() -> None:
    forecast = Forecast(measured(0.1, 2, -0.5))
    widths = [prediction.high - prediction.low for prediction in map(forecast.at, (500, 1000, 2000))]
    assert widths == sorted(widths)


def test_nothing_is_forecast_beyond_four_times_the_largest_size() -> None:
    forecast = Forecast(measured(0.1, 2, -0.5))
    assert forecast.at(2000).n == 2000
    with pytest.raises(ConfigError, match=r"--n: expected at most 2,000, 4 times the largest size .* got 2,001"):
        forecast.at(2001)
    with pytest.raises(ConfigError, match="--n: expected at least 60, the smallest size measured, got 59"):
        forecast.at(59)


def test_nothing_is_forecast_beyond_the_data_set() -> None:
    forecast = Forecast(measured(0.1, 2, -0.5), pool=700)
    assert forecast.farthest == 700
    with pytest.raises(ConfigError, match=r"--n: expected at most 700, the samples that the data set has, got 701$"):
        forecast.at(701)
    everything = Forecast(exact(law(0, 2, -0.4, SIZES).tolist()), pool=500)
    with pytest.raises(ConfigError, match=r"for 500 samples, the samples that the data set has, got 90\.0%$"):
        everything.calls_for(0.9)


@pytest.mark.parametrize("accuracy", [0.825, 0.84, 0.85])
def test_calls_for_an_accuracy_are_those_at_which_it_is_forecast(accuracy: float) -> None:
    """The calls are read where the prediction, and each end of its band, first reaches the accuracy."""
    forecast = Forecast(measured(0.1, 2, -0.5, seeds=5))
    wanted = forecast.calls_for(accuracy)
    one_step_before = int((500 + wanted.calls) / 1.01)
    assert forecast.at(500 + wanted.calls).accuracy >= accuracy > forecast.at(one_step_before).accuracy
    assert wanted.low <= wanted.calls
    assert wanted.next_purchase == (wanted.low or (wanted.calls + 1) // 2)
    if wanted.low:
        assert forecast.at(500 + wanted.low).high >= accuracy
    if wanted.high is None:
        assert forecast.at(2000).low < accuracy
    else:
        assert forecast.at(500 + wanted.high).low >= accuracy


def test_accuracy_that_is_reached_needs_no_call() -> None:
    wanted = Forecast(measured(0.1, 2, -0.5)).calls_for(0.7)
    assert (wanted.calls, wanted.low, wanted.high, wanted.next_purchase) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("a", "accuracy", "hint"),
    [(0.0, 0.93, "; buy up to there, and ask again"), (0.15, 0.97, "; the curve levels off before")],
)
def test_accuracy_out_of_reach_has_no_number_of_calls(a: float, accuracy: float, hint: str) -> None:
    """The message has the forecast at 4 times the largest size, and never what the curve levels off to."""
    forecast = Forecast(exact(law(a, 2, -0.4, SIZES).tolist()))
    with pytest.raises(
        ConfigError, match=rf"--accuracy: expected at most .* the forecast for 2,000 samples.*{hint}"
    ) as told:
        forecast.calls_for(accuracy)
    assert f"got {accuracy:.1%}" in str(told.value)
    assert f"{1 - forecast._laws.a[0]:.1%}" not in str(told.value)


def test_curve_that_cannot_be_extended_has_no_forecast() -> None:
    with pytest.raises(CheckFailed, match="not monotone"):
        Forecast(exact([0.3, 0.25, 0.2, 0.4]))
    with pytest.raises(ConfigError, match="4 sizes"):
        Forecast(exact([0.3, 0.25, 0.2], (10, 20, 40)))
