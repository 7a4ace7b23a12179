"""What the cache says of purchases."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, select

from distill_worker.cache.database.schema import KIND_SEPARATOR, purchases, streams
from shared.sample_key import KEY_BYTES

Status = Literal["open", "done", "void", "imported"]


@dataclass(frozen=True)
class Purchase:
    """An intention to buy the outputs of some samples, in this order, under one Idempotency-Key."""

    id: int
    idempotency_key: str
    payer: str
    """Which account may have been charged; the same Idempotency-Key under another account is another purchase."""
    sample_keys: tuple[bytes, ...]
    kinds: tuple[str, ...] = ("logits",)
    """What is asked of each sample, sorted."""
    buyer_id: str | None = None
    """The process that sees to it, or saw to it."""
    begun_earlier: bool = False
    """Whether a process that is gone may have sent it."""


@dataclass(frozen=True)
class PurchaseRecord:
    """A purchase, as it was written down."""

    idempotency_key: str
    payer: str
    teacher_id: str
    kinds: tuple[str, ...]
    sample_keys: tuple[bytes, ...]
    status: Status
    created_at: float
    """Seconds since the epoch."""
    finished_at: float | None
    query_id: str | None
    """What the teacher called the request."""
    model_version: str | None
    """Who answered."""


def split_keys(packed: bytes) -> tuple[bytes, ...]:
    """Sample keys, from one after the other."""
    return tuple(packed[start : start + KEY_BYTES] for start in range(0, len(packed), KEY_BYTES))


def split_kinds(joined: str) -> tuple[str, ...]:
    """Kinds of output, from a text that joins them."""
    return tuple(joined.split(KIND_SEPARATOR))


def purchase_records(connection: Connection, payer: str | None) -> Iterator[PurchaseRecord]:
    """All that was ever written down, of one account or of all, in the order in which it was begun."""
    query = select(purchases, streams.c.teacher_id, streams.c.output_kind).join(streams).order_by(purchases.c.id)
    for row in connection.execute(query if payer is None else query.where(purchases.c.payer == payer)):
        yield PurchaseRecord(
            idempotency_key=row.idempotency_key,
            payer=row.payer,
            teacher_id=row.teacher_id,
            kinds=split_kinds(row.output_kind),
            sample_keys=split_keys(row.sample_keys),
            status=row.status,
            created_at=row.created_at,
            finished_at=row.finished_at,
            query_id=row.query_id,
            model_version=row.model_version,
        )
