"""A key's allowance as it stands: the one way in which rows of `api_keys` become numbers that are shown."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from teacher_service.database import api_keys
from teacher_service.key_terms import PLAIN, KeyTerms
from teacher_service.output_policy import OutputPolicy
from teacher_service.rate_limit import Bucket

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
    terms: KeyTerms = PLAIN
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


def read_quota(connection: Connection, key_id: str, now: float) -> Quota:
    """The quota of a key that exists, inside the caller's transaction."""
    return quota_of(connection.execute(select(api_keys).where(api_keys.c.id == key_id)).one(), now)


def quota_of(row: Row[Any], now: float) -> Quota:
    """A whole row of `api_keys` as a quota, `now` in seconds since the epoch."""
    requests, samples = row.requests_per_minute, row.samples_per_minute
    return Quota(
        key_id=row.id,
        name=row.name,
        limit=row.quota,
        used=row.used,
        reserved=row.reserved,
        terms=KeyTerms(
            row.holder, OutputPolicy.parse(row.outputs), row.expires_at, requests, samples, row.max_concurrent
        ),
        revision=row.revision,
        in_flight=row.in_flight,
        requests=None if requests is None else Bucket(requests, row.requests_debt, row.requests_debt_at_ms).at(now),
        samples=None if samples is None else Bucket(samples, row.samples_debt, row.samples_debt_at_ms).at(now),
    )
