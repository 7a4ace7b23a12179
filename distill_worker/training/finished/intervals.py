"""The interval of a share."""

from math import sqrt
from typing import Final, NamedTuple

_Z: Final = 1.959963984540054
"""The normal quantile of a 95 % interval."""


class Interval(NamedTuple):
    """The two ends of an interval."""

    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval:
    """The 95 % score interval of a share (Wilson 1927), for `0 <= successes <= trials` and at least one trial."""
    share, z2 = successes / trials, _Z**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z / (1 + z2 / trials) * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))
