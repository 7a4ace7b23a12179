"""Blocks: the outputs of one kind of a purchase's samples, packed with checksums. See `schema.blocks`."""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from shared.sample_key import KEY_BYTES


@dataclass(frozen=True)
class Block:
    """The columns of a block, except for its stream and purchase."""

    positions: bytes | None
    checksum: int
    row_checksums: bytes
    vectors: bytes


def pack_block(keys: bytes, vectors: bytes, positions: Sequence[int] | None = None) -> Block:
    """Pack a block of outputs.

    Args:
        keys: the concatenated sample keys.
        vectors: the concatenated outputs, little-endian float32, all of one length.
        positions: the index of each row among the purchase's samples; None if the block has all of them, in order.
    """
    return Block(
        positions=None if positions is None else np.asarray(positions, "<u4").tobytes(),
        checksum=crc32(vectors, crc32(keys)),
        row_checksums=row_checksums(keys, vectors).tobytes(),
        vectors=vectors,
    )


def row_checksums(keys: bytes, vectors: bytes) -> NDArray[np.uint32]:
    """The CRC-32 of each key and its vector, uint32 `[rows]`."""
    rows = len(keys) // KEY_BYTES
    length = len(vectors) // max(rows, 1)
    return np.fromiter(
        (
            crc32(vectors[row * length : (row + 1) * length], crc32(keys[row * KEY_BYTES : (row + 1) * KEY_BYTES]))
            for row in range(rows)
        ),
        "<u4",
        rows,
    )


def keys_at(sample_keys: bytes, positions: bytes | None) -> bytes:
    """The concatenated keys of a block's rows, from those of its purchase."""
    if positions is None:
        return sample_keys
    starts = np.frombuffer(positions, "<u4") * KEY_BYTES
    return b"".join(sample_keys[start : start + KEY_BYTES] for start in starts.tolist())
