"""The width of each stream: the number of values in one output.

Most blocks of a stream decide, so neither one damaged block nor a damaged shape can change the width.
"""

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
    """A stored shape that contradicts most blocks of its stream."""

    stream_id: int
    teacher_id: str
    kind: str
    shape: str
    """The shape as it is stored."""
    width: int
    """Values per sample in most blocks."""


def widths(connection: Connection, stream_id: int | None = None) -> dict[int, int]:
    """Values per sample by stream id, of one stream or of all; a stream without a whole block is absent.

    If as many blocks have one width as another, the stored shape decides, or else the first block.
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
    stored = {row.stream_id: _values(row.shape) for row in connection.execute(select(schema.stream_shapes))}
    return {
        stream: max(blocks_of_width, key=lambda width: (blocks_of_width[width], width == stored.get(stream)))
        for stream, blocks_of_width in counts.items()
    }


def wrong_shapes(connection: Connection, expected_widths: dict[int, int]) -> Iterator[WrongShape]:
    """The stored shapes that contradict the expected widths (by stream id)."""
    rows = connection.execute(select(schema.streams, schema.stream_shapes.c.shape).join(schema.stream_shapes)).all()
    for row in rows:
        width = expected_widths.get(row.id)
        if width is not None and _values(row.shape) != width:
            yield WrongShape(row.id, row.teacher_id, row.output_kind, row.shape, width)


def correct_shape(connection: Connection, wrong: WrongShape) -> None:
    """Replace a wrong shape by the one that the kind and the width imply, or else by none, which is a plain vector."""
    shapes = schema.stream_shapes
    removed = delete(shapes).where(shapes.c.stream_id == wrong.stream_id, shapes.c.shape == wrong.shape)
    pairs = wrong.kind.startswith(f"{TOP_K}:") and wrong.width % 2 == 0
    if connection.execute(removed).rowcount == 1 and pairs:
        connection.execute(insert(shapes).values(stream_id=wrong.stream_id, shape=f"{wrong.width // 2},2"))


def _values(shape: str) -> int | None:
    try:
        return math.prod(int(size) for size in shape.split(","))
    except ValueError:
        return None
