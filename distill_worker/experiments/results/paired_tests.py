"""Means over seeds, and tests of one method against another on the same seeds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Final

from scipy.stats import ttest_rel

_CONFIDENCE: Final = 0.95
_DIGITS: Final = 9
"""Decimal digits of a difference; what is beyond them is rounding."""


@dataclass(frozen=True)
class Paired:
    """The comparison of a method with the baseline, seed by seed."""

    difference: float
    """Mean of the method minus mean of the baseline, in the unit of the values."""
    low: float
    """The lower end of the 95 % interval of the difference, by the same t-test, not corrected."""
    high: float
    wins: int
    """Number of seeds on which the method is strictly better."""
    seeds: int
    p_value: float
    """p-value of the two-sided paired t-test, not corrected."""
    holm_p_value: float
    """p-value corrected for all tested methods (Holm 1979)."""

    @property
    def has_interval(self) -> bool:
        """Whether the differences vary, so that the t-test has an interval."""
        return isfinite(self.low)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation, which is None for one value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def against_baseline(values: Mapping[str, Sequence[float]], baseline: str) -> dict[str, Paired]:
    """Compare every other method with the baseline; values are aligned by seed.

    Differences that are all equal have no spread for a t-test. Their p-value is then that of the exact test by signs,
    2^(1 - seeds), or 1 if they are 0; a difference that is not 0 then has no interval: its ends are infinite.
    """
    base = values[baseline]
    raw = {name: _tested(own, base) for name, own in values.items() if name != baseline and len(own) == len(base) > 1}
    corrected = holm({name: tested.p_value for name, tested in raw.items()})
    return {name: replace(tested, holm_p_value=corrected[name]) for name, tested in raw.items()}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: the i-th smallest of m times m - i + 1, never falling, at most 1."""
    corrected: dict[str, float] = {}
    running = 0.0
    for index, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - index) * p_values[name]))
        corrected[name] = running
    return corrected


def p_value_text(p_value: float) -> str:
    """A p-value in a sentence: `p = 0.012`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _tested(own: Sequence[float], base: Sequence[float]) -> Paired:
    """The comparison of a method with the baseline, without a correction."""
    difference = statistics.mean(own) - statistics.mean(base)
    differences = {round(a - b, _DIGITS) for a, b in zip(own, base, strict=True)}
    wins = sum(a > b for a, b in zip(own, base, strict=True))
    if differences == {0.0}:
        p_value, low, high = 1.0, 0.0, 0.0
    elif len(differences) == 1:
        p_value, low, high = 2.0 ** (1 - len(base)), -inf, inf
    else:
        test = ttest_rel(own, base)
        p_value, (low, high) = float(test.pvalue), map(float, test.confidence_interval(_CONFIDENCE))
    return Paired(difference, low, high, wins, len(base), p_value, p_value)
