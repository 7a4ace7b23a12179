"""The store of bought outputs, and of the intentions to buy them.

A purchase is written down, with its Idempotency-Key, before its request leaves; its outputs and its end are written in
one transaction. A worker killed at any instruction therefore finds either the outputs, or the open purchase that it
must repeat under the same key.

Invariant: an output that was paid for is never overwritten, never deleted, and never served for another teacher,
output kind or sample.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, insert, select, update

from distill_worker.cache.block import pack_block
from distill_worker.cache.claims import Claims, Seen, new_purchase, open_purchases
from distill_worker.cache.database import schema
from distill_worker.cache.database.engine import (
    WHAT_TO_DO_WITH_A_FILE,
    explained,
    is_buyer_alive,
    open_engine,
    open_process_lock,
    shown,
)
from distill_worker.cache.database.schema_version import migrate
from distill_worker.cache.database.write_retry import patiently
from distill_worker.cache.holdings import Holdings
from distill_worker.cache.records import Purchase, PurchaseRecord, purchase_records
from distill_worker.cache.storable_text import storable, storable_name
from distill_worker.cache.streams import (
    find_stream,
    learn_shape,
    make_stream,
    shape_of,
    streams_by_kind,
    streams_by_teacher,
    teacher_ids,
)
from distill_worker.errors import CacheError
from shared.durable.engine import reading
from shared.durable.process_lock import ProcessLock


class Cache:
    """A cache, opened. A context manager; use it from one thread."""

    def __init__(
        self,
        place: Path | str,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open or create it, brought up to date.

        Args:
            place: a SQLite file, or the URL of a database (`postgresql://...`) that several machines share.
            clock: seconds since the epoch.
            sleep: before an answer that was paid for is written again, where the database was locked or away.

        Raises:
            CacheError: it is damaged, of a later version, or cannot be written.
        """
        self._clock = clock
        self._sleep = sleep
        self._holdings: dict[int, Holdings] = {}
        self._stream_ids: dict[tuple[str, str], int] = {}
        """Those that are committed: they never change."""
        self.place = shown(place)
        with explained(self.place):
            if isinstance(place, Path):
                if place.is_dir():
                    raise CacheError(f"{place}: expected the file of a cache, got a folder")
                place = place.resolve()  # a link and its file are one cache, and have the same buyers
                place.parent.mkdir(parents=True, exist_ok=True)
            self._engine = open_engine(place)
            with self._engine.begin() as connection:
                migrate(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.dispose()

    @contextmanager
    def buying(self) -> Iterator[ProcessLock]:
        """Be one of the processes that buy into this cache, whose open purchases nobody else touches."""
        with explained(self.place):
            buyer = open_process_lock(self._engine)
        try:
            yield buyer
        finally:
            with explained(self.place):
                buyer.close()

    def stream(self, teacher_id: str, output_kind: str) -> int:
        """The id under which one teacher's outputs of one kind are kept."""
        known = self._stream_ids.get((teacher_id, output_kind))
        if known is None:
            with self.reading() as connection:
                known = find_stream(connection, teacher_id, output_kind)
        if known is None:
            with self.writing() as connection:
                known = make_stream(connection, teacher_id, output_kind)
        self._stream_ids[teacher_id, output_kind] = known
        return known

    def order(self, teacher_id: str, kinds: Sequence[str]) -> int:
        """The id under which purchases of these kinds at once are written down."""
        return self.stream(teacher_id, schema.KIND_SEPARATOR.join(sorted(kinds)))

    def streams(self, output_kind: str) -> dict[str, int]:
        """Stream ids by teacher id, for every teacher that outputs of this kind were ever asked of."""
        with self.reading() as connection:
            return streams_by_teacher(connection, output_kind)

    def teachers(self) -> list[str]:
        """The ids of all teachers that outputs were ever asked of, sorted."""
        with self.reading() as connection:
            return teacher_ids(connection)

    def kinds_of(self, teacher_id: str) -> dict[str, int]:
        """Stream ids by kind of output, for every kind that was ever asked of this teacher by itself."""
        with self.reading() as connection:
            return streams_by_kind(connection, teacher_id)

    def holdings(self, stream_id: int) -> Holdings:
        """The samples of a stream that are held now."""
        with self.reading() as connection:
            return self.learned(connection, stream_id)

    def missing(self, stream_id: int, wanted: Iterable[bytes]) -> list[bytes]:
        """The distinct wanted sample keys whose outputs are not held, in order."""
        held = self.holdings(stream_id)
        return [key for key in dict.fromkeys(wanted) if key not in held]

    def aligned(self, stream_id: int, sample_keys: Sequence[bytes]) -> NDArray[np.float32]:
        """The outputs of samples that are all held, float32 `[samples, ...]`, row i for `sample_keys[i]`.

        Raises:
            KeyError: one is not held.
            CacheError: what is held is damaged.
        """
        with self.reading() as connection:
            shape = shape_of(connection, stream_id)
            values = self.learned(connection, stream_id).read(connection, sample_keys)
        if shape is None or not len(values):
            return values
        if values.shape[1] != np.prod(shape):
            raise CacheError(f"{self.place}: expected outputs of shape {list(shape)}, found {values.shape[1]} values")
        return values.reshape(len(values), *shape)

    def outputs(self, stream_id: int, wanted: Iterable[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The outputs held of the wanted sample keys, each float32 `[values]`; what is not held is absent."""
        with self.reading() as connection:
            held = self.learned(connection, stream_id)
            keys = [key for key in dict.fromkeys(wanted) if key in held]
            return dict(zip(keys, held.read(connection, keys), strict=True))

    def claim(self, claims: Claims, buyer: ProcessLock, count: int) -> list[Purchase]:
        """Up to `count` purchases for this buyer to see to, written down: what others left open, or new ones."""
        with self.writing() as connection:
            held = [self.learned(connection, stream_id) for stream_id in claims.stream_ids]
            return claims.take(connection, held, self.is_alive, buyer, count, now=self._clock())

    def look(self, claims: Claims) -> Seen:
        """What others began of what is wanted."""
        with self.reading() as connection:
            held = [self.learned(connection, stream_id) for stream_id in claims.stream_ids]
            return claims.look(connection, held, self.is_alive)

    def is_alive(self, buyer_id: str | None) -> bool:
        """Whether the process with this id still buys into this cache."""
        with explained(self.place):
            return is_buyer_alive(self._engine, buyer_id)

    def intend(self, stream_id: int, sample_keys: Sequence[bytes], *, payer: str) -> Purchase:
        """Write down a purchase that nobody sees to yet."""
        with self.writing() as connection:
            return new_purchase(connection, stream_id, sample_keys, payer=payer, buyer_id=None, now=self._clock())

    def open_purchases(self, teacher_id: str) -> list[Purchase]:
        """This teacher's purchases whose end is not known, in the order in which they were begun."""
        with self.reading() as connection:
            return open_purchases(connection, teacher_id)

    def purchases(self, payer: str | None = None) -> Iterator[PurchaseRecord]:
        """All that was ever written down, of one account or of all, in the order in which it was begun."""
        with self.reading() as connection:
            yield from purchase_records(connection, payer)

    def complete(
        self,
        purchase: Purchase,
        outputs: Mapping[str, NDArray[np.float32]],
        *,
        teacher_id: str | None = None,
        query_id: str | None = None,
    ) -> None:
        """Keep all that a purchase asked for, float32 `[samples, ...]` in its order by kind, and close it.

        Args:
            purchase: an open one.
            outputs: by kind.
            teacher_id: who answered, if not the one that was asked: the outputs are kept as that one's.
            query_id: what the teacher called the request.

        Names that a database cannot hold are kept as far as it can; where the database is locked or away, this waits.
        A purchase that was given up meanwhile is done all the same: its outputs are here.
        """
        packed = {kind: np.ascontiguousarray(outputs[kind], dtype="<f4") for kind in purchase.kinds}
        for kind, values in packed.items():
            if len(values) != len(purchase.sample_keys):
                raise ValueError(f"{kind}: expected {len(purchase.sample_keys)} outputs, got {len(values)}")
        keys = b"".join(purchase.sample_keys)

        def write(connection: Connection, again: bool) -> None:
            asked, status = connection.execute(
                select(schema.streams.c.teacher_id, schema.purchases.c.status)
                .join(schema.purchases, schema.purchases.c.stream_id == schema.streams.c.id)
                .where(schema.purchases.c.id == purchase.id)
            ).one()
            if again and status == "done":
                return
            owner = asked if teacher_id in (None, "", asked) else storable_name(str(teacher_id))
            told = None if query_id is None else storable(query_id)
            self._close(connection, purchase, "done", query_id=told, model_version=owner)
            for kind, values in packed.items():
                stream_id = self._stream_ids.get((owner, kind)) or make_stream(connection, owner, kind)
                learn_shape(connection, stream_id, values.shape[1:])
                block = pack_block(keys, values.tobytes())
                row = {"stream_id": stream_id, "purchase_id": purchase.id, **vars(block)}
                connection.execute(insert(schema.blocks).values(row))

        with explained(self.place):
            patiently(self._engine.begin, write, self._sleep)

    def void(self, purchase: Purchase) -> None:
        """Close a purchase that the teacher refused and did not charge, if it is open still and nobody took it over."""
        with self.writing() as connection:
            self._close(connection, purchase, "void")

    def abandon(self, teacher_id: str, gives_up: Callable[[Purchase], bool]) -> int:
        """Void this teacher's open purchases that no living process sees to; how many.

        Nobody takes one over meanwhile.

        Args:
            teacher_id: whose.
            gives_up: chooses among them; it must not write.
        """
        with self.writing() as connection:
            given_up = [
                opened
                for opened in open_purchases(connection, teacher_id)
                if gives_up(opened) and not self.is_alive(opened.buyer_id)
            ]
            for opened in given_up:
                self._close(connection, opened, "void")
        return len(given_up)

    def meet(self, address: str, description: Mapping[str, Any]) -> None:
        """Remember what the teacher at an address says of itself."""
        row = {"address": address, "description": json.dumps(description), "seen_at": self._clock()}
        with self.writing() as connection:
            connection.execute(delete(schema.addresses).where(schema.addresses.c.address == address))
            connection.execute(insert(schema.addresses).values(row))

    def met(self, address: str) -> tuple[dict[str, Any], float] | None:
        """What the teacher at an address said of itself when it was last asked, and when that was."""
        with self.reading() as connection:
            row = connection.execute(select(schema.addresses).where(schema.addresses.c.address == address)).first()
        return None if row is None else (json.loads(row.description), row.seen_at)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def check_file(self) -> None:
        """Raise `CacheError` where SQLite finds its own file damaged; a server sees to its own."""
        with self.reading() as connection:
            if connection.dialect.name != "sqlite":
                return
            told = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if told != "ok":
            raise CacheError(f"{self.place}: the file is damaged ({str(told).strip()}). {WHAT_TO_DO_WITH_A_FILE}")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction in which nobody else writes."""
        with explained(self.place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, and never waits for one that writes."""
        with explained(self.place), reading(self._engine) as connection:
            yield connection

    def learned(self, connection: Connection, stream_id: int) -> Holdings:
        """The samples of a stream that are held as this transaction sees it."""
        held = self._holdings.setdefault(stream_id, Holdings(stream_id))
        held.learn(connection)
        return held

    def _close(self, connection: Connection, purchase: Purchase, status: str, **known: str | None) -> None:
        here = update(schema.purchases).where(schema.purchases.c.id == purchase.id)
        if status == "void":
            here = here.where(schema.is_open, schema.purchases.c.buyer_id == purchase.buyer_id)
        connection.execute(here.values(status=status, finished_at=self._clock(), **known))
