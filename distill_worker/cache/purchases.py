"""Purchases: the life of one, from its intent to its end.

The intent of a purchase is its row, which is written before the request is sent. A purchase has one Idempotency-Key
and one status:

open      The request may have been sent and charged. While its buyer is alive, no other process repeats it. After that,
          the next worker of the same account repeats it under the same Idempotency-Key, if repeats are free. If they
          are charged, its samples are uncertain: no worker buys them until a user abandons the purchase.
done      The answer came; its outputs are cached, in the same transaction.
unread    The answer came and was charged, and cannot be read. It is kept (see `raw_answers`), and read again before
          anything is sent. If repeats are free, the same account repeats it under the same Idempotency-Key, as an open
          purchase; otherwise no worker buys its samples until a user abandons the purchase.
void      Nothing was charged (the request was rejected, never reached the teacher, or failed with a 429 or 503 that
          charged nothing), or a user abandoned the purchase, although it may have been charged, and all its samples
          were requested anew.
imported  Another cache paid for the outputs, or another purchase, which sent the same content.

An answer that comes after its purchase became void still makes it done, or unread: what was paid for is kept.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, insert, or_, select, update

from distill_worker.cache.block import pack_block
from distill_worker.cache.database import schema
from distill_worker.cache.database.storable_text import storable, storable_name
from distill_worker.cache.streams import make_stream, new_id, save_shape, split_kinds
from shared.durable.process_lock import ProcessLock
from shared.sample_key import KEY_BYTES

Status = Literal["open", "done", "unread", "void", "imported"]


@dataclass(frozen=True)
class Purchase:
    """The intent to buy the outputs of some samples, in this order, under one Idempotency-Key."""

    id: int
    idempotency_key: str
    payer: str
    """The account that may have been charged; for another account, the same Idempotency-Key is another purchase."""
    sample_keys: tuple[bytes, ...]
    kinds: tuple[str, ...] = ("logits",)
    """The kinds of output that are bought of each sample, sorted."""
    buyer_id: str | None = None
    """The process that has, or last had, the lease."""
    begun_earlier: bool = False
    """Whether a process that has ended may have sent the request."""
    is_unread: bool = False
    """Whether its answer is kept and could not be read."""
    teacher_id: str = ""
    """The teacher that was asked."""


@dataclass(frozen=True)
class PurchaseRecord:
    """A purchase with its status and its end."""

    idempotency_key: str
    payer: str
    teacher_id: str
    kinds: tuple[str, ...]
    sample_keys: tuple[bytes, ...]
    status: Status
    created_at: float
    """Seconds since the epoch."""
    finished_at: float | None
    """Seconds since the epoch."""
    query_id: str | None
    """The teacher's id of the request."""
    model_version: str | None
    """The teacher that answered."""


def new_purchase(
    connection: Connection, order_id: int, sample_keys: Sequence[bytes], *, payer: str, buyer_id: str | None, now: float
) -> Purchase:
    """Write the intent of a purchase, before its request leaves."""
    idempotency_key = secrets.token_hex(16)
    added = connection.execute(
        insert(schema.purchases).values(
            stream_id=order_id,
            idempotency_key=idempotency_key,
            payer=payer,
            sample_keys=b"".join(sample_keys),
            status="open",
            created_at=now,
            buyer_id=buyer_id,
        )
    )
    order = connection.execute(select(schema.streams).where(schema.streams.c.id == order_id)).one()
    return Purchase(
        new_id(added),
        idempotency_key,
        payer,
        tuple(sample_keys),
        split_kinds(order.output_kind),
        buyer_id,
        teacher_id=order.teacher_id,
    )


def take_over(connection: Connection, purchase: Purchase, buyer: ProcessLock) -> Purchase:
    """Move the lease of an open purchase, whose buyer has ended, to another buyer."""
    row = schema.purchases.c.id == purchase.id
    connection.execute(update(schema.purchases).where(row).values(buyer_id=buyer.id))
    return replace(purchase, buyer_id=buyer.id, begun_earlier=True)


def is_done(connection: Connection, purchase: Purchase) -> bool:
    """Whether the outputs of a purchase are cached."""
    status = select(schema.purchases.c.status).where(schema.purchases.c.id == purchase.id)
    return connection.scalar(status) == "done"


def complete_purchase(
    connection: Connection,
    purchase: Purchase,
    outputs: Mapping[str, NDArray[np.float32]],
    *,
    teacher_id: str | None,
    query_id: str | None,
    stream_ids: Mapping[tuple[str, str], int],
    now: float,
) -> None:
    """Make a purchase done and write its outputs; see `Cache.complete`.

    `stream_ids` are ids by teacher id and kind, which need no lookup; they may be incomplete.
    """
    expected: str = connection.execute(
        select(schema.streams.c.teacher_id)
        .join(schema.purchases, schema.purchases.c.stream_id == schema.streams.c.id)
        .where(schema.purchases.c.id == purchase.id)
    ).scalar_one()
    owner = expected if teacher_id in (None, "", expected) else storable_name(str(teacher_id))
    connection.execute(
        update(schema.purchases)
        .where(schema.purchases.c.id == purchase.id)
        .values(
            status="done",
            finished_at=now,
            query_id=None if query_id is None else storable(query_id),
            model_version=owner,
        )
    )
    keys = b"".join(purchase.sample_keys)
    for kind, values in outputs.items():
        stream_id = stream_ids.get((owner, kind)) or make_stream(connection, owner, kind)
        save_shape(connection, stream_id, values.shape[1:])
        block = pack_block(keys, values.tobytes())
        row = {"stream_id": stream_id, "purchase_id": purchase.id, **vars(block)}
        connection.execute(insert(schema.blocks).values(row))


def void_purchase(connection: Connection, purchase: Purchase, *, now: float) -> None:
    """Make a purchase void, if its status is the same and no other process took it over."""
    connection.execute(
        update(schema.purchases)
        .where(
            schema.purchases.c.id == purchase.id,
            schema.purchases.c.status == ("unread" if purchase.is_unread else "open"),
            schema.purchases.c.buyer_id == purchase.buyer_id,
        )
        .values(status="void", finished_at=now)
    )


def open_purchases(connection: Connection, teacher_id: str, source: str | None = None) -> list[Purchase]:
    """The open purchases of a teacher's outputs, oldest first.

    If a source is given, also those of every teacher `source/...` that is this source under other settings.
    """
    return list(_asked_of(connection, teacher_id, source, schema.is_open))


def was_answered(connection: Connection, teacher_id: str, source: str | None = None) -> bool:
    """Whether a request for a teacher's outputs was ever answered; the arguments are those of `open_purchases`."""
    is_answered = schema.purchases.c.status.in_(("done", "unread"))
    return any(_asked_of(connection, teacher_id, source, is_answered))


def _asked_of(
    connection: Connection, teacher_id: str, source: str | None, condition: ColumnElement[bool]
) -> Iterator[Purchase]:
    asked = schema.streams.c.teacher_id
    is_asked = asked == teacher_id
    rows = connection.execute(
        select(schema.purchases, schema.streams.c.output_kind, asked)
        .join(schema.streams)
        .where(
            condition, is_asked if source is None else or_(is_asked, asked.startswith(f"{source}/", autoescape=True))
        )
        .order_by(schema.purchases.c.id)
    )
    for purchase in map(purchase_of, rows):
        if purchase.teacher_id in (teacher_id, f"{source}/{_last(purchase)}"):
            yield purchase


def _last(purchase: Purchase) -> str:
    return purchase.teacher_id.rsplit("/", 1)[-1]


def purchase_of(row: Any) -> Purchase:
    """The purchase in a row of `purchases` with its `output_kind` and `teacher_id`."""
    return Purchase(
        id=row.id,
        idempotency_key=row.idempotency_key,
        payer=row.payer,
        sample_keys=split_keys(row.sample_keys),
        kinds=split_kinds(row.output_kind),
        buyer_id=row.buyer_id,
        is_unread=row.status == "unread",
        teacher_id=row.teacher_id,
    )


def purchase_records(connection: Connection) -> Iterator[PurchaseRecord]:
    """All purchases, of all accounts, oldest first."""
    purchases = schema.purchases
    query = select(purchases, schema.streams.c.teacher_id, schema.streams.c.output_kind).join(schema.streams)
    for row in connection.execute(query.order_by(purchases.c.id)):
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


def answered_by_others(connection: Connection, teacher_id: str) -> dict[bytes, str]:
    """The samples that were bought of this teacher but answered by another, and that other teacher's id."""
    version = schema.purchases.c.model_version
    rows = connection.execute(
        select(schema.purchases.c.sample_keys, version)
        .join(schema.streams)
        .where(schema.streams.c.teacher_id == teacher_id, schema.purchases.c.status == "done", version != teacher_id)
    )
    return {key: row.model_version for row in rows for key in split_keys(row.sample_keys)}


def split_keys(packed: bytes) -> tuple[bytes, ...]:
    """The sample keys in their concatenation."""
    return tuple(packed[start : start + KEY_BYTES] for start in range(0, len(packed), KEY_BYTES))
