"""Raw answers: paid responses as they arrived, so that one that cannot be read is not lost.

A purchase is unread while its raw answer brought no outputs. Each plan reads it again under the present settings; it is
never bought again by itself. Raw answers are added, never changed and never deleted; of a purchase's, the last counts.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, exists, func, insert, or_, select, update

from distill_worker.cache.block import pack_block
from distill_worker.cache.database import schema
from distill_worker.cache.database.storable_text import storable, storable_name
from distill_worker.cache.purchases import Purchase, complete_purchase, new_purchase, purchase_of
from distill_worker.cache.streams import make_stream, save_shape

LARGEST_BYTES: Final = 2**28
"""The most bytes of a raw answer, compressed, that are kept; databases limit the size of a value."""
SENT: Final = "sent-sha256"
"""The name, among the headers, of the SHA-256 of the content that was sent."""
_LONGEST_REASON: Final = 1000
_raw = schema.raw_answers.c


@dataclass(frozen=True)
class RawAnswer:
    """A paid response as it arrived."""

    content: bytes
    headers: Mapping[str, str]
    """Those that reading needs, and that identify it; names in lower case."""
    asked_of: str
    """The teacher that was asked, apart from the settings by which its answers are read."""
    answered_by: str
    """The teacher that answered, likewise."""


@dataclass(frozen=True)
class KeptAnswer:
    """A raw answer in the cache, without its content."""

    id: int
    purchase: Purchase
    sent: str | None = None
    """The SHA-256 of the content that was sent; None if it is not kept."""


def keep_raw(
    connection: Connection, purchase: Purchase, raw: RawAnswer, *, reason: str | None = None, now: float
) -> None:
    """Keep the raw answer to a purchase, with the reason why it cannot be read; None if it was read."""
    content = zlib.compress(raw.content)
    if len(content) > LARGEST_BYTES:
        content, reason = content[:LARGEST_BYTES], f"larger than {LARGEST_BYTES} bytes; {reason}"
    connection.execute(
        insert(schema.raw_answers).values(
            purchase_id=purchase.id,
            asked_of=storable_name(raw.asked_of),
            answered_by=storable_name(raw.answered_by),
            headers=json.dumps(dict(raw.headers)),
            content=content,
            reason=None if reason is None else storable(reason, _LONGEST_REASON),
            received_at=now,
        )
    )


def mark_unread(connection: Connection, purchase: Purchase, *, query_id: str | None, now: float) -> None:
    """Make a purchase unread, unless its outputs came meanwhile."""
    connection.execute(
        update(schema.purchases)
        .where(schema.purchases.c.id == purchase.id, schema.purchases.c.status != "done")
        .values(status="unread", finished_at=now, query_id=None if query_id is None else storable(query_id))
    )


def is_kept(connection: Connection, purchase: Purchase) -> bool:
    """Whether a raw answer to a purchase is kept."""
    return connection.execute(select(_raw.id).where(_raw.purchase_id == purchase.id)).first() is not None


def last_answer_id(connection: Connection) -> int:
    """The id of the raw answer that was kept last; 0 if there is none. One transaction writes at a time: ids grow."""
    return connection.scalar(select(func.max(_raw.id))) or 0


def kept_answers(connection: Connection, teacher_id: str, source: str | None, *, after: int = 0) -> list[KeptAnswer]:
    """The last raw answer to each purchase that is done or unread, oldest first.

    Args:
        connection: a connection to the cache.
        teacher_id: purchases of this teacher's outputs.
        source: also purchases that this source was asked for or answered, whatever their teacher and kinds.
        after: only raw answers with a larger id.
    """
    later = schema.raw_answers.alias().c
    is_last = ~exists().where(later.purchase_id == _raw.purchase_id, later.id > _raw.id)
    rows = connection.execute(
        select(
            schema.purchases,
            schema.streams.c.output_kind,
            schema.streams.c.teacher_id,
            _raw.id.label("raw_id"),
            _raw.headers,
        )
        .join(schema.streams, schema.streams.c.id == schema.purchases.c.stream_id)
        .join(schema.raw_answers, _raw.purchase_id == schema.purchases.c.id)
        .where(_raw.id > after, is_last, schema.purchases.c.status.in_(("done", "unread")), _is_of(teacher_id, source))
        .order_by(schema.purchases.c.id)
    )
    return [KeptAnswer(row.raw_id, purchase_of(row), _sent(row.headers)) for row in rows]


def unread_purchases(connection: Connection, teacher_id: str, source: str | None) -> list[Purchase]:
    """The purchases whose answers are kept and could not be read; the arguments are those of `kept_answers`."""
    rows = connection.execute(
        select(schema.purchases, schema.streams.c.output_kind, schema.streams.c.teacher_id)
        .distinct()
        .join(schema.streams, schema.streams.c.id == schema.purchases.c.stream_id)
        .join(schema.raw_answers, _raw.purchase_id == schema.purchases.c.id)
        .where(schema.is_unread, _is_of(teacher_id, source))
        .order_by(schema.purchases.c.id)
    )
    return [purchase_of(row) for row in rows]


def raw_answer(connection: Connection, kept: KeptAnswer) -> RawAnswer:
    """The raw answer with its content.

    Raises:
        zlib.error: it is damaged.
    """
    row = connection.execute(select(schema.raw_answers).where(_raw.id == kept.id)).one()
    return RawAnswer(_decompressed(row.content), json.loads(row.headers), row.asked_of, row.answered_by)


def store_reread(
    connection: Connection,
    purchase: Purchase,
    outputs: Mapping[str, NDArray[np.float32]],
    *,
    teacher_id: str,
    order_id: int,
    now: float,
) -> None:
    """Store the outputs that a raw answer brought, and close its purchase, unless another process did so.

    Args:
        connection: writes.
        purchase: the one that the answer belongs to.
        outputs: by kind, `[samples, ...]`, one row for each of the purchase's sample keys.
        teacher_id: the teacher that answered.
        order_id: the order of these kinds from that teacher.
        now: the time, in seconds since 1970.
    """
    row = schema.purchases.c.id == purchase.id
    status = connection.scalar(select(schema.purchases.c.status).where(row))
    owner = storable_name(teacher_id)
    if status == "unread":
        done = {"status": "done", "stream_id": order_id, "model_version": owner, "finished_at": now}
        connection.execute(update(schema.purchases).where(row).values(done))
    elif status != "done":
        return
    for kind, values in outputs.items():
        stream_id = make_stream(connection, owner, kind)
        if not _has_block(connection, stream_id, purchase):
            save_shape(connection, stream_id, values.shape[1:])
            block = pack_block(b"".join(purchase.sample_keys), values.tobytes())
            connection.execute(
                insert(schema.blocks).values(stream_id=stream_id, purchase_id=purchase.id, **vars(block))
            )


def store_of_same_content(
    connection: Connection,
    key: bytes,
    outputs: Mapping[str, NDArray[np.float32]],
    *,
    teacher_id: str,
    order_id: int,
    now: float,
) -> None:
    """Store the outputs of a sample that the answer to another one brought, which was sent as the same content."""
    purchase = new_purchase(connection, order_id, [key], payer="", buyer_id=None, now=now)
    complete_purchase(connection, purchase, outputs, teacher_id=teacher_id, query_id=None, stream_ids={}, now=now)
    row = schema.purchases.c.id == purchase.id
    connection.execute(update(schema.purchases).where(row).values(status="imported"))


def damaged_raw_answers(connection: Connection) -> Iterator[tuple[Any, str]]:
    """The rows of raw answers that cannot be read from the database, each with its purchase and the damage."""
    rows = connection.execute(
        select(
            schema.raw_answers,
            schema.purchases.c.sample_keys,
            schema.streams.c.teacher_id,
            schema.streams.c.output_kind,
        )
        .join(schema.purchases, schema.purchases.c.id == _raw.purchase_id)
        .join(schema.streams, schema.streams.c.id == schema.purchases.c.stream_id)
        .order_by(_raw.id)
    )
    for row in rows:
        try:
            _decompressed(row.content)
            json.loads(row.headers)
        except (zlib.error, ValueError) as error:
            yield row, f"raw answer: {error}"


def _sent(headers: str) -> str | None:
    with suppress(ValueError):  # damaged
        sent = json.loads(headers).get(SENT)
        return None if sent is None else str(sent)
    return None


def _is_of(teacher_id: str, source: str | None) -> ColumnElement[bool]:
    is_its_own = schema.streams.c.teacher_id == teacher_id
    if source is None:
        return is_its_own
    name = storable_name(source)
    return or_(is_its_own, _raw.asked_of == name, _raw.answered_by == name)


def _has_block(connection: Connection, stream_id: int, purchase: Purchase) -> bool:
    blocks = schema.blocks.c
    query = select(blocks.id).where(blocks.stream_id == stream_id, blocks.purchase_id == purchase.id)
    return connection.execute(query).first() is not None


def _decompressed(content: bytes) -> bytes:
    """Raises `zlib.error` also if the content ends too early, unless it was cut when it was kept."""
    if len(content) == LARGEST_BYTES:
        return zlib.decompressobj().decompress(content)
    return zlib.decompress(content)
