"""A model of one key, in fractions and milliseconds: what is left, what the next request meets, and what it costs."""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any, Final

from shared.oip import problem

MINUTE_MS: Final = 60_000


@dataclass
class Limit:
    """So many a minute; what was spent comes back evenly. A clock set back by more than a minute forgives."""

    per_minute: int
    spent: Fraction = Fraction(0)
    at_ms: int = 0

    def outstanding(self, now_ms: int) -> Fraction:
        """What was spent and is not back yet."""
        elapsed = now_ms - self.at_ms
        if elapsed < -MINUTE_MS:
            return Fraction(0)
        return max(Fraction(0), self.spent - Fraction(self.per_minute * max(0, elapsed), MINUTE_MS))

    def left(self, now_ms: int) -> int:
        """How many would be admitted at once."""
        return max(0, floor(self.per_minute - self.outstanding(now_ms)))

    def spend(self, cost: int, now_ms: int) -> None:
        """That much more."""
        elapsed = now_ms - self.at_ms
        self.spent = self.outstanding(now_ms) + cost
        if elapsed > 0 or elapsed < -MINUTE_MS:
            self.at_ms = now_ms

    def seconds_until(self, cost: int, now_ms: int) -> int:
        """Whole seconds after which so many would be admitted, at least one."""
        return max(1, ceil((self.outstanding(now_ms) + cost - self.per_minute) * 60 / self.per_minute))


@dataclass
class KeyModel:
    """A key as the ledger has to have it."""

    quota: int
    used: int = 0
    requests: Limit | None = None
    samples: Limit | None = None
    expires_at_ms: int | None = None
    revoked: bool = False
    answered: dict[str, int] = field(default_factory=dict)
    """The samples of each request with an Idempotency-Key that was answered."""
    _lifted: dict[str, Limit] = field(default_factory=dict)
    """Limits that were taken away. What is outstanding of them is forgotten when something else is spent."""

    def meets(self, samples: int, name: str | None, now_ms: int) -> str:
        """What a good request meets, whose cost is counted with that."""
        if self.is_over(now_ms):
            return "unauthorized"
        if name is not None and name in self.answered:
            same = self.answered[name] == samples
            return "replayed" if same else self.refused(problem.IDEMPOTENCY_MISMATCH, now_ms)
        if self.used + samples > self.quota:
            return self.refused("quota-exceeded", now_ms)
        if self.requests is not None and not self.requests.left(now_ms):
            return "rate-limited"
        if self.samples is not None and samples > self.samples.per_minute:
            return self.refused("invalid-request", now_ms)
        if self.samples is not None and samples > self.samples.left(now_ms):
            return "rate-limited"
        self._spend(1, samples, now_ms)
        self.used += samples
        if name is not None:
            self.answered[name] = samples
        return "answered"

    def refused(self, kind: str, now_ms: int) -> str:
        """What a request meets that is refused for what it is, and counts as a request."""
        if self.is_over(now_ms):
            return "unauthorized"
        if self.requests is not None and not self.requests.left(now_ms):
            return "rate-limited"
        self._spend(1, 0, now_ms)
        return kind

    def is_over(self, now_ms: int) -> bool:
        """Whether it is refused whatever it asks."""
        return self.revoked or (self.expires_at_ms is not None and self.expires_at_ms <= now_ms)

    def limit(self, requests: int | None, samples: int | None) -> None:
        """Other limits; what is outstanding stays so."""
        self.requests = self._changed("requests", self.requests, requests)
        self.samples = self._changed("samples", self.samples, samples)

    def _spend(self, requests: int, samples: int, now_ms: int) -> None:
        if (requests and self.requests) or (samples and self.samples):
            for limit, cost in ((self.requests, requests), (self.samples, samples)):
                if limit is not None:
                    limit.spend(cost, now_ms)
            self._lifted.clear()

    def _changed(self, name: str, limit: Limit | None, per_minute: int | None) -> Limit | None:
        known = limit or self._lifted.pop(name, Limit(0))
        if per_minute is None:
            self._lifted[name] = known
            return None
        return Limit(per_minute, known.spent, known.at_ms)


def predicted(told: dict[str, Any], samples: int) -> str:
    """What a request that is new must meet, from nothing but what `/v1/quota` said."""
    requests, per_minute = told["requests_per_minute"], told["samples_per_minute"]
    too_fast = requests is not None and requests["remaining"] < 1
    if samples > told["remaining"]:
        return "rate-limited" if too_fast else "quota-exceeded"
    if too_fast:
        return "rate-limited"
    if per_minute is not None and samples > per_minute["limit"]:
        return "invalid-request"
    if per_minute is not None and samples > per_minute["remaining"]:
        return "rate-limited"
    return "answered"
