"""How many calls a reference method needs for the accuracy of another method: its measured curve, read backwards.

The curve is the mean accuracy over seeds at several numbers of calls, made monotone (isotonic regression) and
interpolated linearly in the logarithm of the calls. It is never extrapolated: outside of it, the result is a bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from distill_worker.experiments.results.accuracies import accuracies_of, methods_of, samples_paid

_DRAWS: Final = 2000
_OUTSIDE: Final = _DRAWS // 40
"""Draws that lie below a 95 % interval, and as many above."""
_DIGITS: Final = 9
"""Decimal digits of a mean accuracy; what is beyond them is rounding, which must not decide what lies outside."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calls:
    """A number of calls, or the end of the curve beyond which it lies."""

    relation: Literal["<", "=", ">"]
    value: float


@dataclass(frozen=True)
class Equivalent:
    """The calls that the reference needs, and a 95 % interval, which is None for one seed."""

    calls: Calls
    low: Calls | None
    high: Calls | None


class Curve:
    """The accuracy of the reference by the number of its calls, also for seeds that are drawn with replacement.

    The interval is a percentile bootstrap: each draw takes the same seeds of the reference and of the other method.
    Students of one seed share it for their weights, their batches and, if each seed draws its own, their samples; if
    all seeds share one draw of samples, the interval covers no other draw. With few seeds it is too narrow.
    """

    def __init__(self, accuracies: Mapping[float, Sequence[float]]) -> None:
        """Measure the curve.

        Args:
            accuracies: by the number of calls, at least two: one for each seed, in any unit.
        """
        self._calls = np.array(sorted(accuracies), dtype=np.float64)
        seeds = len(next(iter(accuracies.values())))
        drawn = np.random.default_rng(0).integers(seeds, size=(_DRAWS if seeds > 1 else 0, seeds))
        self._draws = np.concatenate([np.arange(seeds)[None], drawn])
        """The seeds of each draw `[1 + draws, seeds]`; the first row has each seed once."""
        means = np.stack([self._means(accuracies[calls]) for calls in self._calls], axis=1)
        self._curves = np.stack([isotonic_regression(mean).x for mean in means]).round(_DIGITS)

    def equivalent(self, accuracies: Sequence[float]) -> Equivalent:
        """The calls at which the reference is as good as a method with these accuracies, one for each seed."""
        calls, *drawn = _inverse(np.log(self._calls), self._curves, self._means(accuracies))
        if not drawn:
            return Equivalent(self._calls_at(calls), None, None)
        drawn.sort()
        return Equivalent(*(self._calls_at(place) for place in (calls, drawn[_OUTSIDE], drawn[-1 - _OUTSIDE])))

    def _means(self, accuracies: Sequence[float]) -> Floats:
        """The mean of accuracies, one for each seed, in each draw."""
        means: Floats = np.array(accuracies, dtype=np.float64)[self._draws].mean(axis=1).round(_DIGITS)
        return means

    def _calls_at(self, place: float) -> Calls:
        """The calls at a place on the logarithmic axis, which is infinite beyond the ends of the curve."""
        if np.isfinite(place):
            return Calls("=", round(float(np.exp(place)), 1))
        return Calls("<", float(self._calls[0])) if place < 0 else Calls(">", float(self._calls[-1]))


def equivalents(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The equivalent calls of each method but the reference at each n, JSON-able; `facts` as of `run_comparison`.

    Each has `method`, `n`, `paid` (the calls of the method itself), and `calls`, `low` and `high` of `Equivalent`.
    """
    reference = facts["reference"]
    curve = Curve({samples_paid(facts, reference, n): accuracies_of(facts, reference, n) for n in facts["reference_n"]})
    return [
        {
            "method": method,
            "n": n,
            "paid": samples_paid(facts, method, n),
            **asdict(curve.equivalent(accuracies_of(facts, method, n))),
        }
        for method in methods_of(facts)
        if method != reference
        for n in facts["n"]
    ]


def _inverse(axis: Floats, curves: Floats, values: Floats) -> list[float]:
    """Where each rising curve first reaches its value; minus or plus infinity if it starts above, or ends below it.

    Args:
        axis: `[points]`, rising.
        curves: `[curves, points]`, never falling.
        values: `[curves]`.
    """
    rows, first = np.arange(len(curves)), (curves < values[:, None]).sum(axis=1)
    right = first.clip(1, len(axis) - 1)
    low, high = curves[rows, right - 1], curves[rows, right]
    share = np.divide(values - low, high - low, out=np.zeros_like(low), where=high > low)
    places = axis[right - 1] + share * (axis[right] - axis[right - 1])
    places = np.where(first > 0, places, np.where(values < curves[:, 0], -np.inf, axis[0]))
    reached: list[float] = np.where(first < len(axis), places, np.inf).tolist()
    return reached
