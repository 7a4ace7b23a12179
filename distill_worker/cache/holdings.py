"""Holdings: the cached samples of one stream, the blocks that hold them, and their outputs as one array."""

from collections.abc import Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, select

from distill_worker.cache.block import keys_at
from distill_worker.cache.database import schema
from distill_worker.cache.purchases import split_keys
from distill_worker.errors import CacheError
from shared.sample_key import KEY_BYTES

_BLOCKS_A_STATEMENT = 500
"""Blocks per SELECT: SQLite limits the variables of one statement."""
_VERIFY = "the cache is damaged; run `distill-worker cache verify` to see what is damaged"


class Holdings:
    """The cached samples of one stream. A refresh reads only new blocks.

    Rows are numbered through all blocks in their order; of two outputs of one sample, the first counts.
    """

    def __init__(self, stream_id: int) -> None:
        self._stream_id = stream_id
        self._rows: dict[bytes, int] = {}
        self._block_ids: list[int] = []
        self._ends: list[int] = []
        """The number of the first row after each block."""

    def __contains__(self, sample_key: object) -> bool:
        return sample_key in self._rows

    def has_all(self, sample_keys: Sequence[bytes]) -> bool:
        """Whether all of these samples are cached."""
        return all(map(self._rows.__contains__, sample_keys))

    def __len__(self) -> int:
        return len(self._rows)

    def refresh(self, connection: Connection) -> None:
        """Read the keys of the blocks that were added since the last refresh."""
        last = self._block_ids[-1] if self._block_ids else 0
        end = start = self._ends[-1] if self._ends else 0
        packed: list[bytes] = []
        for block in connection.execute(_keys(self._stream_id, last)).all():
            packed.append(keys_at(block.sample_keys, block.positions))
            end += len(packed[-1]) // KEY_BYTES
            self._block_ids.append(block.id)
            self._ends.append(end)
        keys = split_keys(b"".join(packed))
        if self._rows:
            for row, key in enumerate(keys, start):
                self._rows.setdefault(key, row)
        else:  # at once; backwards, so that the first of two wins
            self._rows = dict(zip(reversed(keys), range(end - 1, -1, -1), strict=True))

    def read(self, connection: Connection, sample_keys: Sequence[bytes]) -> NDArray[np.float32]:
        """The outputs of cached samples, float32 `[samples, values]`, row i for `sample_keys[i]`.

        Raises:
            KeyError: a sample is not cached.
            CacheError: a block is damaged, or another process set it aside meanwhile.
        """
        rows = np.fromiter(map(self._rows.__getitem__, sample_keys), np.int64, len(sample_keys))
        ends = np.asarray(self._ends, np.int64)
        sizes = np.diff(ends, prepend=0)
        block_of_row = np.searchsorted(ends, rows, side="right")
        needed = np.unique(block_of_row)
        parts = list(self._vectors(connection, [self._block_ids[block] for block in needed.tolist()]))
        widths = {part.shape[1] for part in parts}
        if len(widths) > 1:
            raise CacheError(f"expected outputs of one width in a stream, got {sorted(widths)} values; {_VERIFY}")
        # The start of each block among the blocks that were read, minus its start among all blocks.
        shift = np.zeros(len(ends), np.int64)
        shift[needed] = np.cumsum(sizes[needed]) - ends[needed]
        if not parts:
            return np.zeros((0, 0), np.float32)
        places, values = rows + shift[block_of_row], np.concatenate(parts)
        # Samples in the order in which they were bought need no copy.
        return values if np.array_equal(places, np.arange(len(values))) else values[places]

    def _vectors(self, connection: Connection, block_ids: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """Each block's outputs, float32 `[rows, values]`, in order."""
        for start in range(0, len(block_ids), _BLOCKS_A_STATEMENT):
            some = block_ids[start : start + _BLOCKS_A_STATEMENT]
            blocks = connection.execute(_contents(some)).all()
            if len(blocks) != len(some):
                raise CacheError("another process set outputs aside while they were read; run the same command again")
            for block in blocks:
                keys = keys_at(block.sample_keys, block.positions)
                if crc32(block.vectors, crc32(keys)) != block.checksum or len(block.vectors) % (len(keys) // 8):
                    raise CacheError(f"the outputs of block {block.id} do not match their checksum; {_VERIFY}")
                yield np.frombuffer(block.vectors, "<f4").reshape(len(keys) // KEY_BYTES, -1)


def _keys(stream_id: int, after: int) -> Select[Any]:
    return (
        select(schema.blocks.c.id, schema.blocks.c.positions, schema.purchases.c.sample_keys)
        .join(schema.purchases, schema.purchases.c.id == schema.blocks.c.purchase_id)
        .where(schema.blocks.c.stream_id == stream_id, schema.blocks.c.id > after)
        .order_by(schema.blocks.c.id)
    )


def _contents(block_ids: Sequence[int]) -> Select[Any]:
    return (
        select(
            schema.blocks.c.id,
            schema.blocks.c.positions,
            schema.blocks.c.checksum,
            schema.blocks.c.vectors,
            schema.purchases.c.sample_keys,
        )
        .join(schema.purchases, schema.purchases.c.id == schema.blocks.c.purchase_id)
        .where(schema.blocks.c.id.in_(block_ids))
        .order_by(schema.blocks.c.id)
    )
