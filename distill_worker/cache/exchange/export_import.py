"""Bought outputs as a file, so that teams share what they paid for: safetensors, or Parquet (extra `parquet`).

A row holds the teacher, the output kind, the sample, and how the output was bought: the Idempotency-Key, the teacher's
id of the request, the model version that answered, and the times. It does not hold the account that paid.

Invariant: imported outputs equal the exported ones, bit for bit, and never replace a cached output.
"""

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, select

from distill_worker.cache.block import keys_at, pack_block
from distill_worker.cache.database import schema
from distill_worker.cache.database.storable_text import storable
from distill_worker.cache.exchange.formats import FORMATS, PROVENANCE, UNREADABLE, UNWRITABLE, Bought, Format
from distill_worker.cache.exchange.validation import first_fault
from distill_worker.cache.output_widths import widths
from distill_worker.cache.purchases import split_keys
from distill_worker.cache.store import Cache
from distill_worker.cache.streams import (
    class_names_of,
    make_stream,
    save_class_names,
    save_shape,
    shape_of,
    split_kinds,
)
from distill_worker.errors import CacheError, ConfigError
from shared.atomic_file import atomic_replacement

_PURCHASES_AT_ONCE = 1000


def export(cache: Cache, path: Path, *, teacher_id: str | None = None, kind: str | None = None) -> int:
    """Write the cached outputs, of one teacher or kind or of all, to a new file; returns the number of outputs.

    Raises:
        CacheError: no output matches, or the file exists or cannot be written.
        ConfigError: its suffix is none of `FORMATS`.
    """
    write = _format(path).write
    if path.exists():
        raise CacheError(f"{path}: expected a file that is not there yet; what was paid for may be in it")
    bought = [
        stream
        for stream in _cached_streams(cache)
        if teacher_id in (None, stream.teacher_id) and kind in (None, stream.kind) and stream.sample_keys
    ]
    if not bought:
        raise CacheError(
            f"{cache.place}: no outputs of {teacher_id or 'any teacher'}, kind {kind or 'any'}, are cached"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(path) as partial:
            write(partial, bought)
    except UNWRITABLE as error:
        raise CacheError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
    return sum(len(stream.sample_keys) for stream in bought)


def import_file(cache: Cache, path: Path) -> tuple[int, int]:
    """Add the outputs in a file that are not cached yet; returns how many were added, and how many the file has.

    Raises:
        CacheError: the file is of another kind, damaged, or contradicts the cache; nothing was added.
    """
    read = _format(path).read
    try:
        bought = list(read(path))
    except UNREADABLE as error:
        raise CacheError(f"{path}: expected outputs that `distill-worker cache export` wrote, got {error}") from error
    fault = first_fault(bought)
    if fault is not None:
        raise CacheError(f"{path}: expected {fault}; nothing was added")
    with cache.writing() as connection:
        added = sum(_add(cache, connection, path, stream) for stream in bought)
    return added, sum(len(stream.sample_keys) for stream in bought)


def _cached_streams(cache: Cache) -> Iterator[Bought]:
    """Every stream of one kind, with the first output of each sample."""
    with cache.reading() as connection:
        streams = connection.execute(select(schema.streams).order_by(schema.streams.c.id)).all()
    for stream in streams:
        if len(split_kinds(stream.output_kind)) > 1:
            continue
        first: dict[bytes, int] = {}
        purchases: list[dict[str, Any]] = []
        with cache.reading() as connection:
            rows = connection.execute(
                select(schema.blocks.c.positions, schema.purchases)
                .join(schema.purchases, schema.purchases.c.id == schema.blocks.c.purchase_id)
                .where(schema.blocks.c.stream_id == stream.id)
                .order_by(schema.blocks.c.id)
            )
            for row in rows:
                for key in split_keys(keys_at(row.sample_keys, row.positions)):
                    first.setdefault(key, len(purchases))
                purchases.append({name: getattr(row, name) for name in PROVENANCE})
            class_names = class_names_of(connection, stream.teacher_id)
        values = cache.aligned(stream.id, list(first))
        yield Bought(
            stream.teacher_id,
            stream.output_kind,
            values.shape[1:],
            tuple(first),
            values.reshape(len(first), -1),
            np.fromiter(first.values(), np.int64, len(first)),
            tuple(purchases),
            class_names,
        )


def _add(cache: Cache, connection: Connection, path: Path, bought: Bought) -> int:
    stream_id = make_stream(connection, bought.teacher_id, bought.kind)
    expected = _shape(connection, stream_id)
    if expected is not None and expected != bought.shape:
        raise CacheError(
            f"{path}: expected {bought.kind} of {bought.teacher_id} of shape {list(expected)}, as in the cache, "
            f"got {list(bought.shape)}; nothing was added"
        )
    held_names = class_names_of(connection, bought.teacher_id)
    if None not in (held_names, bought.class_names) and held_names != bought.class_names:
        raise CacheError(
            f"{path}: expected the outputs of {bought.teacher_id} in the order of its classes in the cache, "
            f"{_shortened(held_names)}, got them in the order {_shortened(bought.class_names)}; nothing was added"
        )
    save_class_names(connection, bought.teacher_id, bought.class_names)
    held = cache.current_holdings(connection, stream_id)
    rows = np.array([row for row, key in enumerate(bought.sample_keys) if key not in held], np.int64)
    if not len(rows):
        return 0
    save_shape(connection, stream_id, bought.shape)
    rows = rows[np.argsort(bought.purchase[rows], kind="stable")]
    by_purchase = np.split(rows, np.flatnonzero(np.diff(bought.purchase[rows])) + 1)
    for start in range(0, len(by_purchase), _PURCHASES_AT_ONCE):
        _insert(connection, stream_id, bought, by_purchase[start : start + _PURCHASES_AT_ONCE])
    return len(rows)


def _insert(connection: Connection, stream_id: int, bought: Bought, by_purchase: Sequence[NDArray[np.int64]]) -> None:
    """Insert the rows of some purchases: one purchase and one block for each."""
    purchases: list[dict[str, Any]] = []
    blocks: list[dict[str, Any]] = []
    for rows in by_purchase:
        purchase = bought.purchases[int(bought.purchase[rows[0]])]
        keys = b"".join(bought.sample_keys[row] for row in rows.tolist())
        # Not the key of the original purchase, which may be in this cache too.
        key = f"import-{storable(str(purchase['idempotency_key']))[:40]}-{secrets.token_hex(8)}"
        names = {
            name: None if purchase[name] is None else storable(purchase[name]) for name in ("query_id", "model_version")
        }
        about = {**purchase, **names, "idempotency_key": key, "stream_id": stream_id, "payer": ""}
        purchases.append({**about, "sample_keys": keys, "status": "imported"})
        blocks.append({"stream_id": stream_id, **vars(pack_block(keys, bought.values[rows].astype("<f4").tobytes()))})
    added = insert(schema.purchases).returning(schema.purchases.c.idempotency_key, schema.purchases.c.id)
    ids = {row.idempotency_key: row.id for row in connection.execute(added, purchases)}
    for block, about in zip(blocks, purchases, strict=True):
        block["purchase_id"] = ids[about["idempotency_key"]]
    connection.execute(insert(schema.blocks), blocks)


def _shape(connection: Connection, stream_id: int) -> tuple[int, ...] | None:
    """The shape of one cached output; None where there is none."""
    width = widths(connection, stream_id).get(stream_id)
    return shape_of(connection, stream_id) or (None if width is None else (width,))


def _shortened(names: Sequence[str] | None) -> str:
    return f"{list(names or ())}"[:200]


def _format(path: Path) -> Format:
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")
    return FORMATS[path.suffix]
