"""Verify every row of a cache, and set aside what cannot be served.

Invariant: repair deletes no output. It moves a damaged block unchanged to the table `set_aside`, and keeps its whole
rows as a new block of the same purchase.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, insert, select

from distill_worker.cache.block import keys_at, pack_block, row_checksums
from distill_worker.cache.database import schema
from distill_worker.cache.database.engine import WHAT_TO_DO_WITH_A_FILE
from distill_worker.cache.output_widths import correct_shape, widths, wrong_shapes
from distill_worker.cache.purchases import split_keys
from distill_worker.cache.raw_answers import damaged_raw_answers
from distill_worker.cache.store import Cache
from distill_worker.cache.streams import split_kinds
from distill_worker.errors import CacheError
from shared.sample_key import KEY_BYTES

_BLOCKS_AT_ONCE = 200


@dataclass(frozen=True)
class Damage:
    """A block with damaged rows, a stream with a wrong shape, a paid purchase without outputs, or a damaged answer."""

    place: str
    """The block, stream or purchase."""
    teacher_id: str
    kind: str
    rows: int
    """Number of damaged outputs; 0 for a wrong shape."""
    reason: str


@dataclass
class Verification:
    """The result of `verify`."""

    outputs: int = 0
    """Number of whole rows."""
    strangers: int = 0
    """Number of whole rows whose sample is not in the given data set."""
    damages: list[Damage] = field(default_factory=list)
    repaired: int = 0
    """Number of outputs that were set aside."""
    kept: int = 0
    """Number of whole outputs in damaged blocks; they are still served."""

    def facts(self) -> dict[str, Any]:
        """The result as JSON-able facts."""
        return {**vars(self), "damages": [vars(damage) for damage in self.damages]}


def verify(
    cache: Cache,
    *,
    dataset_keys: Collection[bytes] | None = None,
    repair: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Verification:
    """Verify the lengths, finiteness and checksums of every block, and that every paid purchase has its outputs.

    Args:
        cache: other workers may buy into it meanwhile.
        dataset_keys: all sample keys of a data set; outputs of other samples are counted.
        repair: whether to set aside what is damaged, and to correct shapes.
        progress: called with the number of verified blocks, and of all blocks.

    Raises:
        CacheError: the database itself is damaged.
    """
    result = Verification()
    _check_file(cache)
    with cache.reading() as connection:
        ids = connection.scalars(select(schema.blocks.c.id).order_by(schema.blocks.c.id)).all()
        expected_widths = widths(connection)
        wrong = list(wrong_shapes(connection, expected_widths))
    for shape in wrong:
        contradiction = f"shape: {shape.shape}, of outputs of {shape.width} values"
        result.damages.append(Damage(f"stream {shape.stream_id}", shape.teacher_id, shape.kind, 0, contradiction))
        if repair:
            with cache.writing() as connection:
                correct_shape(connection, shape)
    for start in range(0, len(ids), _BLOCKS_AT_ONCE):
        some = ids[start : start + _BLOCKS_AT_ONCE]
        with cache.reading() as connection:
            blocks = list(_blocks(connection, some))
        for block in blocks:
            keys, good, reason = _verified(block, expected_widths.get(block.stream_id))
            result.outputs += int(good.sum())
            if dataset_keys is not None:
                result.strangers += sum(key not in dataset_keys for key, whole in zip(keys, good, strict=True) if whole)
            if reason is not None:
                bad = int((~good).sum()) or 1
                result.damages.append(Damage(f"block {block.id}", block.teacher_id, block.output_kind, bad, reason))
                if repair:
                    now = cache.now()
                    with cache.writing() as connection:
                        moved = _set_aside(connection, block, keys, good, reason, now=now)
                    if moved:
                        result.repaired += bad
                        result.kept += int(good.sum())
        progress(start + len(some), len(ids))
    with cache.reading() as connection:
        result.damages += _without_outputs(connection)
        result.damages += _damaged_raw_answers(connection)
    return result


def _check_file(cache: Cache) -> None:
    """Have SQLite check its file; a server checks its own."""
    with cache.reading() as connection:
        if connection.dialect.name != "sqlite":
            return
        result = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()).strip()
    if result != "ok":
        raise CacheError(f"{cache.place}: the file is damaged ({result}). {WHAT_TO_DO_WITH_A_FILE}")


def _blocks(connection: Connection, ids: Collection[int]) -> Iterator[Any]:
    return iter(
        connection.execute(
            select(
                schema.blocks,
                schema.purchases.c.sample_keys,
                schema.streams.c.teacher_id,
                schema.streams.c.output_kind,
            )
            .join(schema.purchases, schema.purchases.c.id == schema.blocks.c.purchase_id)
            .join(schema.streams, schema.streams.c.id == schema.blocks.c.stream_id)
            .where(schema.blocks.c.id.in_(ids))
            .order_by(schema.blocks.c.id)
        ).all()
    )


def _verified(block: Any, expected: int | None) -> tuple[tuple[bytes, ...], NDArray[np.bool_], str | None]:
    """The sample keys of a block, which of its rows are whole, and what is wrong with the others."""
    try:
        packed = keys_at(block.sample_keys, block.positions)
    except ValueError:
        return (), np.zeros(0, bool), f"positions: {len(block.positions)} bytes are no list of numbers"
    keys = split_keys(packed)
    rows, none = len(keys), np.zeros(len(keys), bool)
    if len(packed) % KEY_BYTES or (block.positions is not None and len(block.positions) != 4 * rows):
        return keys, none, f"sample keys: {len(packed)} bytes are no list of keys"
    if not rows or not block.vectors or len(block.vectors) % (4 * rows):
        return keys, none, f"length: {len(block.vectors)} bytes are no float32 outputs of {rows} samples"
    width = len(block.vectors) // (4 * rows)
    if expected not in (None, width):
        return keys, none, f"length: {width} values a sample, where {expected} are expected"
    values = np.frombuffer(block.vectors, "<f4").reshape(rows, width)
    if len(block.row_checksums) != 4 * rows:
        return keys, none, f"checksums: {len(block.row_checksums)} bytes for {rows} samples"
    same = row_checksums(packed, block.vectors) == np.frombuffer(block.row_checksums, "<u4")
    finite = np.isfinite(values).all(axis=1)
    if not same.all():
        return keys, same & finite, "checksum: the outputs changed"
    if not finite.all():
        return keys, finite, "not finite"
    if pack_block(packed, block.vectors).checksum != block.checksum:
        return keys, same, "checksum: of the block alone"
    return keys, same, None


def _set_aside(
    connection: Connection, block: Any, keys: tuple[bytes, ...], good: NDArray[np.bool_], reason: str, *, now: float
) -> bool:
    """Set a block aside; False if another process, which repairs too, did it first."""
    if connection.execute(delete(schema.blocks).where(schema.blocks.c.id == block.id)).rowcount != 1:
        return False
    origin = {"stream_id": block.stream_id, "purchase_id": block.purchase_id}
    connection.execute(
        insert(schema.set_aside).values(
            **origin,
            positions=block.positions,
            row_checksums=block.row_checksums,
            vectors=block.vectors,
            reason=reason[:200],
            at=now,
        )
    )
    if good.any():
        places = np.frombuffer(block.positions, "<u4") if block.positions is not None else np.arange(len(keys))
        vectors = np.frombuffer(block.vectors, "<f4").reshape(len(keys), -1)[good].tobytes()
        left = b"".join(key for key, whole in zip(keys, good, strict=True) if whole)
        packed = pack_block(left, vectors, places[good].tolist())
        connection.execute(insert(schema.blocks).values(**origin, **vars(packed)))
    return True


def _damaged_raw_answers(connection: Connection) -> Iterator[Damage]:
    """Kept answers that are damaged, and unread purchases without one."""
    for row, damage in damaged_raw_answers(connection):
        samples = len(row.sample_keys) // KEY_BYTES
        yield Damage(f"purchase {row.purchase_id}", row.teacher_id, row.output_kind, samples, damage)
    kept = set(connection.scalars(select(schema.raw_answers.c.purchase_id)))
    unread = select(schema.purchases, schema.streams.c.teacher_id, schema.streams.c.output_kind).join(schema.streams)
    for row in connection.execute(unread.where(schema.purchases.c.status == "unread")):
        if row.id not in kept:
            samples, lost = len(row.sample_keys) // KEY_BYTES, "paid for, but no answer is kept"
            yield Damage(f"purchase {row.id}", row.teacher_id, row.output_kind, samples, lost)


def _without_outputs(connection: Connection) -> Iterator[Damage]:
    """Paid purchases without any outputs, not even set aside."""
    kept = {
        (row.purchase_id, row.output_kind)
        for table in (schema.blocks, schema.set_aside)
        for row in connection.execute(
            select(table.c.purchase_id, schema.streams.c.output_kind).join(
                schema.streams, schema.streams.c.id == table.c.stream_id
            )
        )
    }
    paid = connection.execute(
        select(schema.purchases, schema.streams.c.teacher_id, schema.streams.c.output_kind)
        .join(schema.streams)
        .where(schema.purchases.c.status.in_(("done", "imported")))
    )
    for row in paid:
        for kind in split_kinds(row.output_kind):
            if (row.id, kind) not in kept:
                samples = len(row.sample_keys) // KEY_BYTES
                yield Damage(f"purchase {row.id}", row.teacher_id, kind, samples, "paid for, but no outputs are cached")
