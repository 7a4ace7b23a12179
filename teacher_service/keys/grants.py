"""Grants: samples added to a key's quota, each once, however often the request for it is repeated."""

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
    """The caller's identifier of the grant: a key gets at most one grant under it."""


@dataclass(frozen=True)
class Granted:
    """A grant, and the key's quota after it."""

    grant: Grant
    limit: int
    """The key's quota with this grant and those before it: the same in every repetition."""
    quota: Quota
    """The key's quota now."""
    repeated: bool
    """Whether the grant was made earlier under the same reference, so that nothing was added now."""


def insert_grant(connection: Connection, key_id: str, grant: Grant) -> None:
    """Insert a grant, in the transaction that raises the quota."""
    connection.execute(insert(grants).values(key_id=key_id, **vars(grant)))


def grants_of(connection: Connection, key_id: str) -> Sequence[Grant]:
    """A key's grants, oldest first."""
    rows = connection.execute(select(grants).where(grants.c.key_id == key_id).order_by(grants.c.id))
    return [_grant(row) for row in rows]


def add(connection: Connection, key_id: str, grant: Grant) -> Granted:
    """Add a grant to a key's quota, unless it was added under its reference already.

    Raises:
        UnknownKey: there is no such key.
        IdempotencyMismatch: a different grant was made under this reference.
        QuotaTooLarge: the quota would be larger than a header field can hold.
    """
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
    if row is None:
        raise UnknownKey(key_id)
    if grant.reference is not None and (earlier := _earlier(connection, key_id, grant.reference)) is not None:
        return _repeated(connection, row, earlier, grant)
    if row.quota + grant.samples > MAX_QUOTA:
        most = MAX_QUOTA - row.quota
        raise QuotaTooLarge(f"samples: expected at most {most} more (a quota may be {MAX_QUOTA}), got {grant.samples}")
    more = api_keys.c.quota + grant.samples
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(quota=more))
    insert_grant(connection, key_id, grant)
    limit = row.quota + grant.samples
    return Granted(grant, limit, replace(quota_of(row, grant.created_at), limit=limit), repeated=False)


def _earlier(connection: Connection, key_id: str, reference: str) -> Row[Any] | None:
    return connection.execute(select(grants).where(grants.c.key_id == key_id, grants.c.reference == reference)).first()


def _repeated(connection: Connection, key: Row[Any], earlier: Row[Any], requested: Grant) -> Granted:
    if (earlier.samples, earlier.reason) != (requested.samples, requested.reason):
        raise IdempotencyMismatch(
            f"Idempotency-Key (reference): expected the grant of {earlier.samples} samples ({earlier.reason}) that was "
            f"made under {requested.reference!r}, got {requested.samples} ({requested.reason}). Nothing was granted "
            "now; repeat that grant, or use another reference."
        )
    until_then = select(func.sum(grants.c.samples)).where(grants.c.key_id == key.id, grants.c.id <= earlier.id)
    limit = int(connection.scalar(until_then) or 0)
    return Granted(_grant(earlier), limit, quota_of(key, requested.created_at), repeated=True)


def _grant(row: Row[Any]) -> Grant:
    return Grant(row.samples, row.reason, row.created_at, row.reference)
