"""Burst limits: how fast a key may ask, apart from how much it may ask in all.

A limit of R a minute lets R be asked at once, and gives them back evenly, R in a minute (a token bucket). What was
spent and is not back yet is a debt, counted in 60,000ths of one: a millisecond gives back R of these. So all numbers
are whole, and what is said to remain is what is admitted, at any R.

A clock that is set back by more than a minute forgives the debt: burst limits protect the machine, the quota the money.
"""

from dataclasses import dataclass, replace
from typing import Final

WINDOW_SECONDS: Final = 60
MAX_PER_MINUTE: Final = 10**12
"""More would not fit a 64-bit counter as a debt."""

_WINDOW_MS: Final = 1000 * WINDOW_SECONDS


@dataclass(frozen=True)
class Bucket:
    """A limit a minute, and what was spent of it when it was last looked at."""

    per_minute: int
    debt: int = 0
    """In 60,000ths of one."""
    at_ms: int = 0
    """When the debt was that, in milliseconds since the epoch."""

    def at(self, now: float) -> "Bucket":
        """The same limit `now`, in seconds since the epoch."""
        now_ms = int(1000 * now)
        elapsed_ms = now_ms - self.at_ms
        if elapsed_ms < -_WINDOW_MS:
            return Bucket(self.per_minute, 0, now_ms)
        if elapsed_ms <= 0:
            return self
        return Bucket(self.per_minute, max(0, self.debt - self.per_minute * elapsed_ms), now_ms)

    @property
    def remaining(self) -> int:
        """How many would be admitted at once."""
        return max(0, self.per_minute * _WINDOW_MS - self.debt) // _WINDOW_MS

    @property
    def whole_in_seconds(self) -> float:
        """After how long all of it remains again."""
        return self.debt / self.per_minute / 1000

    def seconds_until(self, cost: int) -> float:
        """After how long `cost`, at most `per_minute`, would be admitted."""
        return max(0, self.debt + (cost - self.per_minute) * _WINDOW_MS) / self.per_minute / 1000

    def spend(self, cost: int) -> "Bucket":
        """What is left when `cost` was admitted."""
        return replace(self, debt=self.debt + cost * _WINDOW_MS)
