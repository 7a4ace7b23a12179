"""A summary of a cache: how many samples and purchases it holds, of which teachers."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from distill_worker.cache.database import schema
from distill_worker.cache.store import Cache
from distill_worker.cache.streams import split_kinds
from shared.sample_key import KEY_BYTES


@dataclass(frozen=True)
class StreamSummary:
    """One teacher's outputs of one kind."""

    teacher_id: str
    kind: str
    samples: int
    """Distinct cached samples."""
    bytes: int
    """Size of the outputs, including those of samples that were bought twice."""


@dataclass(frozen=True)
class CacheSummary:
    """All streams and purchases of a cache."""

    place: str
    streams: tuple[StreamSummary, ...]
    purchases: dict[str, int]
    """Number of purchases by status."""
    samples_paid: int
    """Samples in purchases that were made with this cache and are answered, readable or not."""
    samples_unread: int
    """Samples in purchases whose answers are kept and cannot be read."""
    samples_open: int
    """Samples in open purchases."""
    set_aside: int
    """Damaged blocks that were set aside."""
    first_at: float | None
    last_at: float | None
    """When the first and the last purchase finished, in seconds since the epoch."""

    def facts(self) -> dict[str, Any]:
        """The summary as JSON-able facts."""
        return {**vars(self), "streams": [vars(stream) for stream in self.streams]}


def summarise(cache: Cache) -> CacheSummary:
    """Summarise a whole cache. Raises `CacheError`."""
    purchases = schema.purchases
    with cache.reading() as connection:
        length = func.sum(func.length(schema.blocks.c.vectors)).label("bytes")
        by_stream = select(schema.blocks.c.stream_id, length).group_by(schema.blocks.c.stream_id)
        sizes = {row.stream_id: int(row.bytes) for row in connection.execute(by_stream)}
        named = connection.execute(select(schema.streams).order_by(schema.streams.c.id)).all()
        by_status = connection.execute(
            select(purchases.c.status, func.count(), func.sum(func.length(purchases.c.sample_keys))).group_by(
                purchases.c.status
            )
        ).all()
        first_at, last_at = connection.execute(
            select(func.min(purchases.c.finished_at), func.max(purchases.c.finished_at))
        ).one()
        set_aside = connection.scalar(select(func.count()).select_from(schema.set_aside)) or 0
    streams = tuple(
        StreamSummary(row.teacher_id, row.output_kind, len(cache.holdings(row.id)), sizes.get(row.id, 0))
        for row in named
        if len(split_kinds(row.output_kind)) == 1
    )
    samples = {status: int(length) // KEY_BYTES for status, _, length in by_status}
    return CacheSummary(
        place=cache.place,
        streams=streams,
        purchases={status: int(count) for status, count, _ in by_status},
        samples_paid=samples.get("done", 0) + samples.get("unread", 0),
        samples_unread=samples.get("unread", 0),
        samples_open=samples.get("open", 0),
        set_aside=set_aside,
        first_at=first_at,
        last_at=last_at,
    )
