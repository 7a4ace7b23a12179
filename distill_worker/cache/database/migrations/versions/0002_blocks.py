"""Outputs in blocks, who saw to a purchase and who answered it, and the teachers that were met.

The outputs of the first release move into blocks in one transaction; what a block cannot hold is set aside as it is.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any
from zlib import crc32

import numpy as np
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KEY_BYTES = 32
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_blocks = sa.table(
    "blocks",
    *(sa.column(name) for name in ("stream_id", "purchase_id", "positions", "checksum", "row_checksums", "vectors")),
)
_set_aside = sa.table(
    "set_aside",
    *(sa.column(name) for name in ("stream_id", "purchase_id", "positions", "vectors", "reason", "at")),
)


def upgrade() -> None:
    """Create the tables and move the outputs."""
    connection = op.get_bind()
    if "stream_shapes" not in sa.inspect(connection).get_table_names():  # a version between releases made it
        op.create_table(
            "stream_shapes",
            sa.Column("stream_id", sa.Integer, sa.ForeignKey("streams.id"), primary_key=True),
            sa.Column("shape", sa.String(80), nullable=False),
        )
    for name, length in (("buyer_id", 16), ("query_id", 200), ("model_version", 200)):
        op.add_column("purchases", sa.Column(name, sa.String(length)))
    op.create_table(
        "blocks",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("stream_id", sa.Integer, sa.ForeignKey("streams.id"), nullable=False),
        sa.Column("purchase_id", sa.Integer, sa.ForeignKey("purchases.id"), nullable=False),
        sa.Column("positions", sa.LargeBinary),
        sa.Column("checksum", sa.BigInteger, nullable=False),
        sa.Column("row_checksums", sa.LargeBinary, nullable=False),
        sa.Column("vectors", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("blocks_by_stream", "blocks", ["stream_id", "id"])
    op.create_table(
        "set_aside",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("stream_id", sa.Integer, nullable=False),
        sa.Column("purchase_id", sa.Integer, nullable=False),
        sa.Column("positions", sa.LargeBinary),
        sa.Column("row_checksums", sa.LargeBinary),
        sa.Column("vectors", sa.LargeBinary, nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )
    op.create_table(
        "addresses",
        sa.Column("address", sa.String(1000), primary_key=True),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("seen_at", sa.Float(53), nullable=False),
    )
    _move_outputs(connection)
    op.drop_table("outputs")


def _move_outputs(connection: sa.Connection) -> None:
    rows = connection.execute(
        sa.text("SELECT purchase_id, stream_id, sample_key, vector FROM outputs ORDER BY purchase_id, stream_id, id")
    )
    for (purchase_id, stream_id), group in groupby(rows, key=lambda row: (row.purchase_id, row.stream_id)):
        facts = connection.execute(
            sa.text("SELECT sample_keys, finished_at, created_at FROM purchases WHERE id = :id"), {"id": purchase_id}
        ).one()
        place = {key: position for position, key in enumerate(_split_keys(facts.sample_keys))}
        whole, odd = _split_rows(list(group), place)
        here = {"stream_id": stream_id, "purchase_id": purchase_id}
        if whole:
            positions = [place[row.sample_key] for row in whole]
            keys = b"".join(row.sample_key for row in whole)
            block = _pack_block(
                keys, b"".join(row.vector for row in whole), None if len(whole) == len(place) else positions
            )
            connection.execute(sa.insert(_blocks).values(**here, **block))
        for row in odd:
            connection.execute(
                sa.insert(_set_aside).values(
                    **here,
                    positions=row.sample_key,
                    vectors=row.vector,
                    reason=f"length: {len(row.vector)} bytes, found when the cache was brought up to date",
                    at=facts.finished_at or facts.created_at,
                )
            )


def _split_rows(rows: list[Any], place: dict[bytes, int]) -> tuple[list[Any], list[Any]]:
    """The rows that one block can hold, in the purchase's order, and the others."""
    lengths = [len(row.vector) for row in rows]
    usual = max(set(lengths), key=lengths.count)
    fits = [row for row in rows if len(row.vector) == usual and usual and usual % 4 == 0 and row.sample_key in place]
    others = [row for row in rows if row not in fits]
    return sorted(fits, key=lambda row: place[row.sample_key]), others


def _split_keys(packed: bytes) -> list[bytes]:
    return [packed[start : start + _KEY_BYTES] for start in range(0, len(packed), _KEY_BYTES)]


def _pack_block(keys: bytes, vectors: bytes, positions: Sequence[int] | None) -> dict[str, Any]:
    """The columns of a block of outputs, all of one length, and of their sample keys."""
    rows = len(keys) // _KEY_BYTES
    length = len(vectors) // max(rows, 1)
    row_checksums = (
        crc32(vectors[row * length : (row + 1) * length], crc32(keys[row * _KEY_BYTES : (row + 1) * _KEY_BYTES]))
        for row in range(rows)
    )
    return {
        "positions": None if positions is None else np.asarray(positions, "<u4").tobytes(),
        "checksum": crc32(vectors, crc32(keys)),
        "row_checksums": np.fromiter(row_checksums, "<u4", rows).tobytes(),
        "vectors": vectors,
    }
