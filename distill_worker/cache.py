"""The store of bought outputs, and of the intentions to buy them.

A purchase is written down, with its Idempotency-Key, before its request leaves; its outputs and its end are written in
one transaction. A worker killed at any instruction therefore finds either the outputs, or the open purchase that it
must repeat under the same key.

Invariant: an output that was paid for is never overwritten, never deleted, and never served for another teacher,
output kind or sample.
"""

import fcntl
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, CursorResult, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from distill_worker import cache_schema as schema
from distill_worker.errors import CacheError
from shared.sample_key import KEY_BYTES


@dataclass(frozen=True)
class Purchase:
    """An intention to buy the outputs of some samples, in this order, under one Idempotency-Key."""

    id: int
    idempotency_key: str
    payer: str
    """Which account may have been charged; the same Idempotency-Key under another account is another purchase."""
    sample_keys: tuple[bytes, ...]
    kinds: tuple[str, ...] = ("logits",)
    """What is asked of each sample, sorted."""


class Cache:
    """A cache file, opened. A context manager; use it from one thread."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open or create the file; raises `CacheError` when it is damaged or cannot be written."""
        self._path = path.resolve()  # a link and its file are one cache, and need one lock
        self._clock = clock
        with self._explained():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._engine = schema.open_engine(self._path)
            with self._engine.begin() as connection:
                schema.metadata.create_all(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.dispose()

    @contextmanager
    def sole_buyer(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Be the only process that buys into this file; a second one waits, after calling `on_wait`.

        Without it two workers would both find a sample missing and both pay for it. The kernel frees the lock of a
        process that dies.
        """
        with self._explained():
            lock = Path(f"{self._path}.lock").open("w")  # noqa: SIM115 - closed below; errors of the body are not ours
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def stream(self, teacher_id: str, output_kind: str) -> int:
        """The id under which one teacher's outputs of one kind are kept."""
        with self._writing() as connection:
            return self._stream(connection, teacher_id, output_kind)

    def order(self, teacher_id: str, kinds: Sequence[str]) -> int:
        """The id under which purchases of these kinds at once are written down."""
        return self.stream(teacher_id, schema.KIND_SEPARATOR.join(sorted(kinds)))

    def orders(self, teacher_id: str) -> dict[tuple[str, ...], int]:
        """The ids of all purchases ever begun with this teacher, by the kinds that they asked for."""
        with self._reading() as connection:
            rows = connection.execute(select(schema.streams).where(schema.streams.c.teacher_id == teacher_id)).all()
        return {_kinds(row.output_kind): row.id for row in rows}

    def shape(self, stream_id: int) -> tuple[int, ...] | None:
        """The shape of one sample's output, where it is more than a plain vector."""
        with self._reading() as connection:
            known = connection.scalar(
                select(schema.stream_shapes.c.shape).where(schema.stream_shapes.c.stream_id == stream_id)
            )
        return None if known is None else tuple(int(size) for size in known.split(","))

    def streams(self, output_kind: str) -> dict[str, int]:
        """Stream ids by teacher id, for every teacher that outputs of this kind were ever asked of."""
        with self._reading() as connection:
            rows = connection.execute(select(schema.streams).where(schema.streams.c.output_kind == output_kind))
            return {row.teacher_id: row.id for row in rows}

    def outputs(self, stream_id: int, wanted: Iterable[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The outputs held of the wanted sample keys, each float32 `[values]`; what is not held is absent."""
        with self._reading() as connection:
            rows = connection.execute(
                select(schema.outputs.c.sample_key, schema.outputs.c.vector).where(
                    schema.outputs.c.stream_id == stream_id
                )
            )
            keys = frozenset(wanted)
            found = {row.sample_key: row.vector for row in rows if row.sample_key in keys}
        return {key: _vector(self._path, packed) for key, packed in found.items()}

    def missing(self, stream_id: int, wanted: Iterable[bytes]) -> list[bytes]:
        """The distinct wanted sample keys whose outputs are not held, in order."""
        with self._reading() as connection:
            held = set(
                connection.scalars(select(schema.outputs.c.sample_key).where(schema.outputs.c.stream_id == stream_id))
            )
        return [key for key in dict.fromkeys(wanted) if key not in held]

    def intend(self, stream_id: int, sample_keys: Sequence[bytes], *, payer: str) -> Purchase:
        """Write down a purchase before its request leaves."""
        idempotency_key = secrets.token_hex(16)
        with self._writing() as connection:
            added = connection.execute(
                insert(schema.purchases).values(
                    stream_id=stream_id,
                    idempotency_key=idempotency_key,
                    payer=payer,
                    sample_keys=b"".join(sample_keys),
                    status="open",
                    created_at=self._clock(),
                )
            )
            kind = connection.scalar(select(schema.streams.c.output_kind).where(schema.streams.c.id == stream_id))
            return Purchase(_new_id(added), idempotency_key, payer, tuple(sample_keys), _kinds(str(kind)))

    def open_purchases(self, stream_id: int) -> list[Purchase]:
        """Purchases whose end is not known: they may have been charged."""
        with self._reading() as connection:
            rows = connection.execute(
                select(schema.purchases, schema.streams.c.output_kind)
                .join(schema.streams)
                .where(schema.is_open, schema.purchases.c.stream_id == stream_id)
                .order_by(schema.purchases.c.id)
            ).all()
        return [
            Purchase(row.id, row.idempotency_key, row.payer, _split(row.sample_keys), _kinds(row.output_kind))
            for row in rows
        ]

    def complete(self, purchase: Purchase, outputs: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep all that a purchase asked for, float32 `[samples, ...]` in its order by kind, and close it."""
        with self._writing() as connection:
            self._close(connection, purchase, "done")
            teacher_id = connection.scalar(
                select(schema.streams.c.teacher_id)
                .join(schema.purchases, schema.purchases.c.stream_id == schema.streams.c.id)
                .where(schema.purchases.c.id == purchase.id)
            )
            for kind in purchase.kinds:
                stream_id = self._stream(connection, str(teacher_id), kind, outputs[kind].shape[1:])
                self._keep(connection, stream_id, purchase, outputs[kind])

    def void(self, purchase: Purchase) -> None:
        """Close a purchase that the teacher refused and did not charge."""
        with self._writing() as connection:
            self._close(connection, purchase, "void")

    def _stream(
        self, connection: Connection, teacher_id: str, output_kind: str, shape: tuple[int, ...] | None = None
    ) -> int:
        here = (schema.streams.c.teacher_id == teacher_id) & (schema.streams.c.output_kind == output_kind)
        stream_id = connection.scalar(select(schema.streams.c.id).where(here))
        if stream_id is None:
            values = {"teacher_id": teacher_id, "output_kind": output_kind}
            stream_id = _new_id(connection.execute(insert(schema.streams).values(values)))
        if shape is not None and len(shape) > 1:
            known = schema.stream_shapes.c.stream_id == stream_id
            if connection.scalar(select(schema.stream_shapes.c.shape).where(known)) is None:
                told = ",".join(map(str, shape))
                connection.execute(insert(schema.stream_shapes).values(stream_id=stream_id, shape=told))
        return int(stream_id)

    def _keep(self, connection: Connection, stream_id: int, purchase: Purchase, values: NDArray[np.float32]) -> None:
        packed = np.ascontiguousarray(values, dtype="<f4")
        held = set(
            connection.scalars(
                select(schema.outputs.c.sample_key).where(
                    schema.outputs.c.stream_id == stream_id, schema.outputs.c.sample_key.in_(purchase.sample_keys)
                )
            )
        )
        rows = [
            {"stream_id": stream_id, "sample_key": key, "purchase_id": purchase.id, "vector": row.tobytes()}
            for key, row in zip(purchase.sample_keys, packed, strict=True)
            if key not in held
        ]
        if rows:
            connection.execute(insert(schema.outputs), rows)

    def _close(self, connection: Connection, purchase: Purchase, status: str) -> None:
        connection.execute(
            update(schema.purchases)
            .where(schema.purchases.c.id == purchase.id)
            .values(status=status, finished_at=self._clock())
        )

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._explained(), self._engine.connect() as connection:
            yield connection.execution_options(reading=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            reason = getattr(error, "orig", None) or error
            raise CacheError(
                f"{self._path}: the cache of bought outputs cannot be used ({reason}). If the file is damaged, restore "
                "a copy or move it aside; do not delete it, for what is in it was paid for"
            ) from error


def _split(packed: bytes) -> tuple[bytes, ...]:
    return tuple(packed[start : start + KEY_BYTES] for start in range(0, len(packed), KEY_BYTES))


def _kinds(joined: str) -> tuple[str, ...]:
    return tuple(joined.split(schema.KIND_SEPARATOR))


def _vector(path: Path, packed: bytes) -> NDArray[np.float32]:
    if len(packed) % 4 or not packed:
        raise CacheError(f"{path}: an output of {len(packed)} bytes is not float32; the file is damaged")
    return np.frombuffer(packed, dtype="<f4")


def _new_id(added: CursorResult[Any]) -> int:
    return int(added.inserted_primary_key.id)  # type: ignore[union-attr]  # one row was inserted
