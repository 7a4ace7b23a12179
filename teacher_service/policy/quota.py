"""A key's quota at one moment: what was granted, what is used and reserved, and what remains."""

from dataclasses import dataclass
from typing import Final

from teacher_service.policy.key_terms import DEFAULT_TERMS, KeyTerms
from teacher_service.policy.rate_limit import Bucket

MAX_QUOTA: Final = 10**15 - 1
"""The largest integer that a structured header field can say (RFC 9651)."""


@dataclass(frozen=True)
class Quota:
    """A key's allowance, in samples, and how fast it may be used, at one moment."""

    key_id: str
    name: str
    limit: int
    used: int
    reserved: int
    terms: KeyTerms = DEFAULT_TERMS
    revision: int = 0
    """How often the key's secret or terms were changed."""
    in_flight: int = 0
    """Requests that hold samples now."""
    requests: Bucket | None = None
    """What the key may still ask in this minute; None where it has no such limit."""
    samples: Bucket | None = None

    @property
    def remaining(self) -> int:
        """What the next request may cost at most, in all."""
        return self.limit - self.used - self.reserved
