"""Rate limits: how fast a key may send requests or samples, apart from its lifetime quota.

A limit of R a minute admits R at once, and refills evenly, R in a minute (a token bucket). What was spent and is not
refilled yet is a debt. Its unit is a 60,000th of a request or sample, so that each millisecond refills exactly R units:
all numbers are integers, and a request is admitted exactly if it costs no more than what is shown as remaining.

If the clock is set back by more than a minute, the debt is dropped: rate limits protect the machine, not the money.
"""

from dataclasses import dataclass, replace
from typing import Final

WINDOW_SECONDS: Final = 60
MAX_PER_MINUTE: Final = 10**12
"""The debt of a larger limit would not fit a 64-bit counter."""

_WINDOW_MS: Final = 1000 * WINDOW_SECONDS


@dataclass(frozen=True)
class Bucket:
    """A limit a minute, and its debt when it was last updated."""

    per_minute: int
    debt: int = 0
    """In 60,000ths of a request or sample."""
    at_ms: int = 0
    """The time of the update, in milliseconds since the epoch."""

    def at(self, now: float) -> "Bucket":
        """The same limit, refilled until `now`, in seconds since the epoch."""
        now_ms = int(1000 * now)
        elapsed_ms = now_ms - self.at_ms
        if elapsed_ms < -_WINDOW_MS:
            return Bucket(self.per_minute, 0, now_ms)
        if elapsed_ms <= 0:
            return self
        return Bucket(self.per_minute, max(0, self.debt - self.per_minute * elapsed_ms), now_ms)

    @property
    def remaining(self) -> int:
        """The number that would be admitted at once."""
        return max(0, self.per_minute * _WINDOW_MS - self.debt) // _WINDOW_MS

    @property
    def whole_in_seconds(self) -> float:
        """The seconds until the limit is refilled completely."""
        return self.debt / self.per_minute / 1000

    def seconds_until(self, cost: int) -> float:
        """The seconds until `cost`, at most `per_minute`, would be admitted."""
        return max(0, self.debt + (cost - self.per_minute) * _WINDOW_MS) / self.per_minute / 1000

    def spend(self, cost: int) -> "Bucket":
        """The limit after `cost` was admitted."""
        return replace(self, debt=self.debt + cost * _WINDOW_MS)
