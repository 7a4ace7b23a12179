"""Grants: samples added to a key's quota, each once, however often it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from teacher_service.database.schema import api_keys, grants
from teacher_service.errors.service_errors import IdempotencyMismatch, QuotaTooLarge, UnknownKey
from teacher_service.ledger.key_rows import quota_of
from teacher_service.policy.quota import MAX_QUOTA, Quota


@dataclass(frozen=True)
class Grant:
    """Samples that were added to a key's quota, and when, in seconds since the epoch."""

    samples: int
    reason: str
    created_at: float
    reference: str | None = None
    """The caller's own word for it: under one, a key is granted something once."""


@dataclass(frozen=True)
class Granted:
    """A grant, and how the key stands."""

    grant: Grant
    limit: int
    """The key's quota with this grant and those before it: the same, however often it is told."""
    quota: Quota
    """As it stands now."""
    repeated: bool
    """Whether it was granted earlier, under the same reference, and not again."""


def note_grant(connection: Connection, key_id: str, grant: Grant) -> None:
    """Write a grant down, in the transaction that raises the quota."""
    connection.execute(insert(grants).values(key_id=key_id, **vars(grant)))


def grants_of(connection: Connection, key_id: str) -> Sequence[Grant]:
    """A key's grants, oldest first."""
    found = connection.execute(select(grants).where(grants.c.key_id == key_id).order_by(grants.c.id))
    return [_grant(row) for row in found]


def add(connection: Connection, key_id: str, grant: Grant) -> Granted:
    """Add a grant to a key's quota, unless it was added under its reference already.

    Raises:
        UnknownKey: there is no such key.
        IdempotencyMismatch: something else was granted under this reference.
        QuotaTooLarge: the quota would be larger than a header field can say.
    """
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
    if row is None:
        raise UnknownKey(key_id)
    if grant.reference is not None and (given := _given(connection, key_id, grant.reference)) is not None:
        return _again(connection, row, given, grant)
    if row.quota + grant.samples > MAX_QUOTA:
        most = MAX_QUOTA - row.quota
        raise QuotaTooLarge(f"samples: expected at most {most} more (a quota may be {MAX_QUOTA}), got {grant.samples}")
    more = api_keys.c.quota + grant.samples
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(quota=more))
    note_grant(connection, key_id, grant)
    limit = row.quota + grant.samples
    return Granted(grant, limit, replace(quota_of(row, grant.created_at), limit=limit), repeated=False)


def _given(connection: Connection, key_id: str, reference: str) -> Row[Any] | None:
    return connection.execute(select(grants).where(grants.c.key_id == key_id, grants.c.reference == reference)).first()


def _again(connection: Connection, key: Row[Any], given: Row[Any], asked: Grant) -> Granted:
    if (given.samples, given.reason) != (asked.samples, asked.reason):
        raise IdempotencyMismatch(
            f"Idempotency-Key (reference): {given.samples} samples ({given.reason}) were granted under "
            f"{asked.reference!r}, and now {asked.samples} ({asked.reason}) are asked for. Nothing was granted now; "
            "repeat that grant, or use another reference."
        )
    until_then = select(func.sum(grants.c.samples)).where(grants.c.key_id == key.id, grants.c.id <= given.id)
    limit = int(connection.scalar(until_then) or 0)
    return Granted(_grant(given), limit, quota_of(key, asked.created_at), repeated=True)


def _grant(row: Row[Any]) -> Grant:
    return Grant(row.samples, row.reason, row.created_at, row.reference)
