"""A key's quota at one time: the samples that were granted, used and reserved, and those that remain."""

from dataclasses import dataclass
from typing import Final

from teacher_service.policy.key_terms import DEFAULT_TERMS, KeyTerms
from teacher_service.policy.rate_limit import Bucket

MAX_QUOTA: Final = 10**15 - 1
"""The largest integer that a structured header field can hold (RFC 9651)."""


@dataclass(frozen=True)
class Quota:
    """A key's quota, in samples, and its rate limits, at one time."""

    key_id: str
    name: str
    limit: int
    used: int
    reserved: int
    terms: KeyTerms = DEFAULT_TERMS
    revision: int = 0
    """The number of changes of the key's secret or terms."""
    in_flight: int = 0
    """Requests of the key that hold samples now."""
    requests: Bucket | None = None
    """The key's limit of requests a minute; None without such a limit."""
    samples: Bucket | None = None
    """The key's limit of samples a minute; None without such a limit."""

    @property
    def remaining(self) -> int:
        """The most samples that the next request may cost."""
        return self.limit - self.used - self.reserved
