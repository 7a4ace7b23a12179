"""How many values an output of each stream has: what most of its blocks have, whatever one block or the shape says."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from distill_worker.cache.database import schema
from shared.output_kinds import TOP_K
from shared.sample_key import KEY_BYTES


@dataclass(frozen=True)
class WrongShape:
    """A shape that contradicts most blocks of its stream."""

    stream_id: int
    teacher_id: str
    kind: str
    told: str
    width: int
    """Values a sample, as the blocks have it."""


def widths(connection: Connection, stream_id: int | None = None) -> dict[int, int]:
    """Values a sample by stream id, of one stream or of all; a stream without a whole block is absent.

    Where as many blocks say one thing as another, it is what the shape says, or else the first block.
    """
    counts: dict[int, Counter[int]] = {}
    blocks, keys = schema.blocks.c, schema.purchases.c.sample_keys
    sizes = (
        select(
            blocks.stream_id,
            func.length(blocks.vectors).label("vectors"),
            func.length(blocks.positions).label("positions"),
            func.length(keys).label("keys"),
        )
        .join(schema.purchases, schema.purchases.c.id == blocks.purchase_id)
        .order_by(blocks.id)
    )
    for row in connection.execute(sizes if stream_id is None else sizes.where(blocks.stream_id == stream_id)):
        samples = row.keys // KEY_BYTES if row.positions is None else row.positions // 4
        if samples and row.vectors and not row.vectors % (4 * samples):
            counts.setdefault(row.stream_id, Counter())[row.vectors // (4 * samples)] += 1
    told = {row.stream_id: _values(row.shape) for row in connection.execute(select(schema.stream_shapes))}
    return {
        each: max(found, key=lambda width: (found[width], width == told.get(each))) for each, found in counts.items()
    }


def wrong_shapes(connection: Connection, known: dict[int, int]) -> Iterator[WrongShape]:
    """The shapes that contradict these widths."""
    rows = connection.execute(select(schema.streams, schema.stream_shapes.c.shape).join(schema.stream_shapes)).all()
    for row in rows:
        width = known.get(row.id)
        if width is not None and _values(row.shape) != width:
            yield WrongShape(row.id, row.teacher_id, row.output_kind, row.shape, width)


def correct(connection: Connection, wrong: WrongShape) -> None:
    """Say what the blocks have: the shape of that kind, or a plain vector, until a purchase tells more."""
    shapes = schema.stream_shapes
    here = delete(shapes).where(shapes.c.stream_id == wrong.stream_id, shapes.c.shape == wrong.told)
    pairs = wrong.kind.startswith(f"{TOP_K}:") and wrong.width % 2 == 0
    if connection.execute(here).rowcount == 1 and pairs:
        connection.execute(insert(shapes).values(stream_id=wrong.stream_id, shape=f"{wrong.width // 2},2"))


def _values(shape: str) -> int | None:
    try:
        return math.prod(int(size) for size in shape.split(","))
    except ValueError:
        return None
