"""What n samples would give, with a band, and the samples that a wanted accuracy needs.

The band is for the mean accuracy of as many students as were measured at each size. It has two parts:

1. A bootstrap over seeds. Each draw has new deviations of the students at each size, a curve through their means, and
   deviations of the students that are forecast. 90 % of the draws are within this part. If the curve misses the sizes
   that it was fitted to by more than students deviate, the deviations are enlarged until they explain it.
2. The miss of a back-test, by which both ends move out. The curve through all sizes but the largest predicts the
   largest, and misses what was measured by some points. They count for the ratio of these two sizes, and grow with the
   logarithm of the ratio: a miss from n / 2 to n is the same at 2 n, twice as large at 4 n, and 0 at n itself.

So the back-test, with a band of this kind, would have covered what was measured. A forecast never goes beyond 4 times
the largest size, and what the curve levels off to is never printed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil, log, sqrt
from typing import Final

import numpy as np

from distill_worker.errors import ConfigError
from distill_worker.experiments.forecast.measured_curve import MeasuredCurve, unit
from distill_worker.experiments.forecast.power_law import PARAMETERS, Floats, fitted

FARTHEST: Final = 4
"""A forecast reaches this many times the largest size."""
_DRAWS: Final = 1000
_BAND: Final = (0.05, 0.95)
_STEPS: Final = 240
"""Sizes between the largest one and `FARTHEST` times it where the curve is read."""


@dataclass(frozen=True)
class Prediction:
    """The accuracy that is expected at one size, and its band; all shares of the test images."""

    n: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class WantedCalls:
    """The calls beside those of the largest size that a wanted accuracy needs, and their band."""

    accuracy: float
    calls: int
    """0 if the largest size has the accuracy."""
    low: int
    """0 if the band reaches the accuracy at the largest size."""
    high: int | None
    """None if the lower end of the band does not reach the accuracy as far as a forecast goes."""

    @property
    def next_purchase(self) -> int:
        """What to buy before the next forecast: the lower end, which may do; if that is 0, half of the calls."""
        return self.low or ceil(self.calls / 2)


class Forecast:
    """The forecast from a measured curve; the same measurements give the same forecast."""

    def __init__(self, curve: MeasuredCurve, *, pool: int | None = None) -> None:
        """Fit the curve and back-test it.

        Args:
            curve: what was measured.
            pool: the samples that there are to buy, if that is known.

        Raises:
            ConfigError, CheckFailed: it cannot be extended; see `MeasuredCurve.check`.
        """
        curve.check()
        self.curve = curve
        self._pool = pool
        sizes, means, weights = np.array(curve.sizes, dtype=np.float64), curve.means, 1 / curve.variances
        rng = np.random.default_rng(0)
        drawn = means + _misfit(curve) * _deviations_of_means(curve, len(sizes), rng) * unit(means)
        self._laws = fitted(sizes, np.concatenate([means[None], drawn]), weights)
        """The first curve is that of the means, the others those of the draws."""
        self._new_students = _deviations_of_means(curve, 1, rng)[:, 0]
        """The deviation of the mean of the students that are forecast, in each draw."""
        back_test = fitted(sizes[:-1], means[None, :-1], weights[:-1])
        self._miss_per_distance = abs(back_test.errors(curve.largest)[0] - means[-1]) / log(sizes[-1] / sizes[-2])

    @property
    def farthest(self) -> int:
        """The largest size that a forecast reaches."""
        most = FARTHEST * self.curve.largest
        return most if self._pool is None else min(most, self._pool)

    def at(self, n: int) -> Prediction:
        """The accuracy with n samples.

        Raises:
            ConfigError: n is smaller than the smallest size, or larger than a forecast reaches.
        """
        if n < self.curve.sizes[0]:
            raise ConfigError(f"--n: expected at least {self.curve.sizes[0]}, the smallest size measured, got {n}")
        if n > self.farthest:
            raise ConfigError(f"--n: expected at most {self.farthest:,}, {self._limit}, got {n:,}{self._advice}")
        return self._predicted(n)

    def calls_for(self, accuracy: float) -> WantedCalls:
        """The calls that a wanted accuracy, a share of the test images, needs.

        Raises:
            ConfigError: no forecast reaches it.
        """
        if accuracy <= 1 - self.curve.means[-1]:
            return WantedCalls(accuracy, 0, 0, 0)
        calls = self._calls_until(lambda reached: reached.accuracy >= accuracy)
        if calls is None:
            raise self._out_of_reach(accuracy)
        low = self._calls_until(lambda reached: reached.high >= accuracy)
        high = self._calls_until(lambda reached: reached.low >= accuracy)
        return WantedCalls(accuracy, max(1, calls), low or 0, high)

    def _predicted(self, n: int) -> Prediction:
        error, *drawn = self._laws.errors(n)
        errors = np.array(drawn)
        low, high = np.quantile(errors + self._new_students * unit(errors), _BAND)
        miss = self._miss_per_distance * max(0.0, log(n / self.curve.largest))
        low, high = min(low, error) - miss, max(high, error) + miss
        return Prediction(n, 1 - float(error), max(0.0, 1 - float(high)), min(1.0, 1 - float(low)))

    @cached_property
    def _curve_ahead(self) -> list[Prediction]:
        """The predictions from the largest size on, as far as a forecast reaches."""
        ratio = self.farthest / self.curve.largest
        sizes = {ceil(self.curve.largest * ratio ** (step / _STEPS)) for step in range(_STEPS)} | {self.farthest}
        return [self._predicted(n) for n in sorted(sizes)] if ratio > 1 else []

    def _calls_until(self, reaches: Callable[[Prediction], bool]) -> int | None:
        """The calls beside those of the largest size until a prediction fulfils a condition."""
        n = next((prediction.n for prediction in self._curve_ahead if reaches(prediction)), None)
        return None if n is None else n - self.curve.largest

    @property
    def _is_limited_by_pool(self) -> bool:
        return self.farthest < FARTHEST * self.curve.largest

    @property
    def _limit(self) -> str:
        """Why a forecast reaches no farther."""
        if self._is_limited_by_pool:
            return "the samples that the data set has"
        return f"{FARTHEST} times the largest size measured"

    @property
    def _advice(self) -> str:
        """What to do where a forecast ends."""
        return "" if self._is_limited_by_pool else "; buy up to there, and ask again"

    def _out_of_reach(self, accuracy: float) -> ConfigError:
        reached = self._predicted(max(self.farthest, self.curve.largest))
        advice = self._advice
        if 1 - self._laws.a[0] < accuracy:
            advice = "; the curve levels off before, so more calls may never give it: another method or settings may"
        return ConfigError(
            f"--accuracy: expected at most {reached.accuracy:.1%} ({reached.low:.1%} to {reached.high:.1%}), the "
            f"forecast for {reached.n:,} samples, {self._limit}, got {accuracy:.1%}{advice}"
        )


def _misfit(curve: MeasuredCurve) -> float:
    """What the deviations at the fitted sizes are multiplied by: the root of the reduced chi-squared, at least 1."""
    sizes, means, weights = np.array(curve.sizes, dtype=np.float64), curve.means, 1 / curve.variances
    laws = fitted(sizes, means[None], weights)
    residuals = np.array([laws.errors(size)[0] for size in sizes]) - means
    return sqrt(max(1.0, float(weights @ residuals**2) / (len(sizes) - PARAMETERS)))


def _deviations_of_means(curve: MeasuredCurve, sizes: int, rng: np.random.Generator) -> Floats:
    """What the means of newly drawn students deviate by, in units `[draws, sizes]`."""
    deviations: Floats = rng.choice(curve.deviations, size=(_DRAWS, sizes, curve.seeds)).mean(axis=2)
    return deviations
