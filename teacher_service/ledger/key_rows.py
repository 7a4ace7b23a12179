"""Rows of `api_keys` as quotas: the one way in which a stored key becomes the numbers that clients see."""

from typing import Any

from sqlalchemy import Connection, Row, select

from teacher_service.database.schema import api_keys
from teacher_service.policy.key_terms import KeyTerms
from teacher_service.policy.quota import Quota
from teacher_service.policy.rate_limit import Bucket


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
        terms=KeyTerms.from_row(row),
        revision=row.revision,
        in_flight=row.in_flight,
        requests=None if requests is None else Bucket(requests, row.requests_debt, row.requests_debt_at_ms).at(now),
        samples=None if samples is None else Bucket(samples, row.samples_debt, row.samples_debt_at_ms).at(now),
    )
