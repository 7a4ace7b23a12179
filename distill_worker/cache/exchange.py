"""Bought outputs as a file, so that teams share what they paid for: safetensors, or Parquet (extra `parquet`).

A row says whose output of which kind it is, of which sample, and how it was bought: the Idempotency-Key, what the
teacher called the request, who answered, and when. The account that paid is not told.

Invariant: what is imported is what was exported, bit for bit, and never replaces what is held.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from sqlalchemy import insert, select

from distill_worker.cache import schema
from distill_worker.cache.block import keys_at, pack_block
from distill_worker.cache.claims import new_id
from distill_worker.cache.exchange_formats import FORMATS, PROVENANCE, Bought, Format
from distill_worker.cache.records import split_keys, split_kinds
from distill_worker.cache.store import Cache
from distill_worker.cache.streams import learn_shape
from distill_worker.errors import CacheError
from shared.sample_key import KEY_BYTES


def export(cache: Cache, path: Path, *, teacher_id: str | None = None, kind: str | None = None) -> int:
    """Write what is held, of one teacher or kind or of all, to a file that is not there yet; the number of outputs.

    Raises:
        CacheError: there is nothing, the file is there, cannot be written, or its suffix is none of `FORMATS`.
    """
    write = _format(path).write
    if path.exists():
        raise CacheError(f"{path}: expected a file that is not there yet; what was paid for may be in it")
    bought = [
        found
        for found in _held(cache)
        if teacher_id in (None, found.teacher_id) and kind in (None, found.kind) and found.sample_keys
    ]
    if not bought:
        raise CacheError(f"{cache.place}: no outputs of {teacher_id or 'any teacher'}, kind {kind or 'any'}, are held")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        write(partial, bought)
        partial.rename(path)
    except OSError as error:
        raise CacheError(f"{path}: cannot be written ({error.strerror or error})") from error
    return sum(len(found.sample_keys) for found in bought)


def import_file(cache: Cache, path: Path) -> tuple[int, int]:
    """Add the outputs in a file that are not held yet; how many were added, and how many the file has.

    Raises:
        CacheError: it is no such file, or is damaged; nothing was added.
    """
    read = _format(path).read
    try:
        bought = list(read(path))
    except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
        raise CacheError(f"{path}: expected outputs that `distill-worker cache export` wrote, got {error}") from error
    for found in bought:
        _check(path, found)
    added = sum(_add(cache, found) for found in bought)
    return added, sum(len(found.sample_keys) for found in bought)


def _held(cache: Cache) -> Iterator[Bought]:
    """Every stream; of a sample that was bought twice, the first output."""
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
        values = cache.aligned(stream.id, list(first))
        yield Bought(
            stream.teacher_id,
            stream.output_kind,
            values.shape[1:],
            tuple(first),
            values.reshape(len(first), -1),
            np.fromiter(first.values(), np.int64, len(first)),
            tuple(purchases),
        )


def _add(cache: Cache, found: Bought) -> int:
    stream_id = cache.stream(found.teacher_id, found.kind)
    added = 0
    with cache.writing() as connection:
        learn_shape(connection, stream_id, found.shape)
        held = cache.learned(connection, stream_id)
        for index, provenance in enumerate(found.purchases):
            rows = [row for row in np.flatnonzero(found.purchase == index) if found.sample_keys[row] not in held]
            if not rows:
                continue
            keys = b"".join(found.sample_keys[row] for row in rows)
            # Apart from the purchase itself, which this cache may have begun too.
            key = f"import-{str(provenance['idempotency_key'])[:40]}-{secrets.token_hex(4)}"
            values = {**provenance, "idempotency_key": key, "stream_id": stream_id, "payer": ""}
            purchase = connection.execute(
                insert(schema.purchases).values(**values, sample_keys=keys, status="imported")
            )
            block = pack_block(keys, found.values[rows].astype("<f4").tobytes())
            row = {"stream_id": stream_id, "purchase_id": new_id(purchase), **vars(block)}
            connection.execute(insert(schema.blocks).values(row))
            added += len(rows)
    return added


def _check(path: Path, found: Bought) -> None:
    samples = len(found.sample_keys)
    for name, wrong in {
        "sample keys of 32 bytes, each once": len(set(found.sample_keys)) != samples
        or any(len(key) != KEY_BYTES for key in found.sample_keys),
        "an output for each sample": found.values.shape != (samples, int(np.prod(found.shape))),
        "finite outputs": not np.isfinite(found.values).all(),
        "a purchase for each sample": found.purchase.shape != (samples,)
        or not ((found.purchase >= 0) & (found.purchase < len(found.purchases))).all(),
    }.items():
        if wrong:
            raise CacheError(f"{path}: expected {name} among the {found.kind} of {found.teacher_id}; nothing was added")


def _format(path: Path) -> Format:
    if path.suffix not in FORMATS:
        raise CacheError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")
    return FORMATS[path.suffix]
