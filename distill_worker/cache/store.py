"""The store of bought outputs, and of the purchases that paid for them.

The intent of a purchase, with its Idempotency-Key, is written before its request leaves; the outputs and the end of the
purchase are written in one transaction. So a worker that was killed at any instruction left either the outputs, or an
open purchase that must be repeated under the same key. `purchases` describes the life of a purchase.

Invariant: a bought output is never overwritten, never deleted, and never returned for another teacher, output kind or
sample.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import DBAPIError

from distill_worker.cache.claims import Claims, Pending
from distill_worker.cache.database import schema
from distill_worker.cache.database.engine import (
    explained,
    is_buyer_alive,
    is_read_only,
    open_database,
    open_empty,
    open_process_lock,
    place_of,
    shown,
)
from distill_worker.cache.database.spare_room import SpareRoom
from distill_worker.cache.database.write_retry import is_short_of_space, with_write_retry
from distill_worker.cache.holdings import Holdings
from distill_worker.cache.purchases import (
    Purchase,
    PurchaseRecord,
    complete_purchase,
    is_done,
    open_purchases,
    purchase_records,
    void_purchase,
)
from distill_worker.cache.raw_answers import RawAnswer, is_kept, keep_raw, mark_unread, unread_purchases
from distill_worker.cache.streams import (
    class_names_of,
    find_stream,
    make_stream,
    save_class_names,
    shape_of,
    streams_by_kind,
    streams_by_teacher,
    teacher_ids,
)
from distill_worker.errors import CacheError
from shared.durable.engine import reading
from shared.durable.process_lock import ProcessLock

_NO_STREAM: Final = 0
"""An id that no stream has."""

IfAbsent = Literal["create", "error", "empty"]


class Cache:
    """An open cache. A context manager; use it from one thread."""

    def __init__(
        self,
        place: Path | str,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        *,
        if_absent: IfAbsent = "create",
        spare_room: SpareRoom | None = None,
    ) -> None:
        """Open or create a cache, and migrate its schema.

        Args:
            place: a SQLite file, or the URL of a database (`postgresql://...`) that several machines share.
            clock: seconds since the epoch.
            sleep: the pause before a paid answer is written again, if the database was locked or disconnected.
            if_absent: whether a file that does not exist is created, is an error, or is read as an empty cache.
            spare_room: the disk space that is held for paid answers in flight; by default in the folder of the file.

        Raises:
            CacheError: the cache is damaged, of a later version, or cannot be written, or there is none.
        """
        self._clock = clock
        self._sleep = sleep
        self._holdings: dict[int, Holdings] = {}
        self._stream_ids: dict[tuple[str, str], int] = {}
        """Ids of committed streams: they never change."""
        place = place_of(place) if isinstance(place, str) else place
        self._place = place
        self.place = shown(place)
        with explained(place):
            if isinstance(place, Path):
                if place.is_dir():
                    raise CacheError(f"{place}: expected the file of a cache, got a folder")
                place = place.resolve()  # a link and its file are one cache, and share their leases
            self.is_absent = if_absent != "create" and isinstance(place, Path) and not place.exists()
            if self.is_absent and if_absent == "error":
                raise CacheError(f"no cache at {place}; `distill-worker fetch` creates one")
            if isinstance(place, Path) and not self.is_absent:
                place.parent.mkdir(parents=True, exist_ok=True)
            self.is_read_only = self.is_absent or (isinstance(place, Path) and is_read_only(place))
            self._engine = open_empty() if self.is_absent else open_database(place)
        self._spare_room = spare_room or (SpareRoom(place.parent) if isinstance(place, Path) else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def stream(self, teacher_id: str, output_kind: str) -> int:
        """The id of the stream of one teacher's outputs of one kind; creates the stream if it is absent."""
        stream_id = self._stream_ids.get((teacher_id, output_kind))
        if stream_id is None:
            with self.reading() as connection:
                stream_id = find_stream(connection, teacher_id, output_kind)
        if stream_id is None and self.is_read_only:
            return _NO_STREAM
        if stream_id is None:
            with self.writing() as connection:
                stream_id = make_stream(connection, teacher_id, output_kind)
        self._stream_ids[teacher_id, output_kind] = stream_id
        return stream_id

    def order(self, teacher_id: str, kinds: Sequence[str]) -> int:
        """The stream id for purchases of several kinds at once."""
        return self.stream(teacher_id, schema.KIND_SEPARATOR.join(sorted(kinds)))

    def streams(self, output_kind: str) -> dict[str, int]:
        """Stream ids by teacher id, of one kind of output."""
        with self.reading() as connection:
            return streams_by_teacher(connection, output_kind)

    def teachers(self) -> list[str]:
        """The ids of all teachers that have a stream, sorted."""
        with self.reading() as connection:
            return teacher_ids(connection)

    def kinds_of(self, teacher_id: str) -> dict[str, int]:
        """Stream ids by kind of output, of one teacher."""
        with self.reading() as connection:
            return streams_by_kind(connection, teacher_id)

    def holdings(self, stream_id: int) -> Holdings:
        """The samples of a stream that are cached now."""
        with self.reading() as connection:
            return self.current_holdings(connection, stream_id)

    def missing(self, stream_id: int, wanted: Iterable[bytes]) -> list[bytes]:
        """The distinct wanted sample keys whose outputs are not cached, in order."""
        cached = self.holdings(stream_id)
        return [key for key in dict.fromkeys(wanted) if key not in cached]

    def aligned(self, stream_id: int, sample_keys: Sequence[bytes]) -> NDArray[np.float32]:
        """The outputs of cached samples, float32 `[samples, ...]`, row i for `sample_keys[i]`.

        Raises:
            KeyError: a sample is not cached.
            CacheError: the outputs are damaged.
        """
        with self.reading() as connection:
            shape = shape_of(connection, stream_id)
            values = self.current_holdings(connection, stream_id).read(connection, sample_keys)
        if shape is None or not len(values):
            return values
        if values.shape[1] != np.prod(shape):
            raise CacheError(
                f"{self.place}: expected outputs of shape {list(shape)}, got {values.shape[1]} values; correct it with "
                "`distill-worker cache verify --repair`"
            )
        return values.reshape(len(values), *shape)

    def check_purchase(self) -> None:
        """Check that a purchase could be written; an absent cache stays absent. Raises `CacheError`."""
        if isinstance(self._place, Path) and self.is_absent:
            folder = next(folder for folder in self._place.absolute().parents if folder.exists())
            with explained(self._place), TemporaryFile(dir=folder):
                return
        with self.buying(), self.writing():
            pass

    def check_writable(self) -> None:
        """Check that bought outputs could be stored. Raises `CacheError`."""
        if self.is_read_only:
            raise CacheError(
                f"{self.place}: expected a cache that can be written, got one that can only be read; nothing was "
                "spent. Choose another output.cache, or copy this one to a folder that can be written"
            )

    @contextmanager
    def buying(self) -> Iterator[ProcessLock]:
        """Hold a lease: while it lasts, no other process touches the open purchases of this buyer."""
        self.check_writable()
        with explained(self._place):
            buyer = open_process_lock(self._engine)
        try:
            yield buyer
        finally:
            with explained(self._place):
                if self._spare_room is not None:
                    self._spare_room.give_up()
                buyer.close()

    def is_alive(self, buyer_id: str | None) -> bool:
        """Whether the buyer with this id still holds its lease."""
        with explained(self._place):
            return is_buyer_alive(self._engine, buyer_id)

    def pending(self, claims: Claims) -> Pending:
        """The wanted samples that are in open purchases."""
        with self.reading() as connection:
            return claims.pending(connection, self._cached(connection, claims), self.is_alive)

    def claim(self, claims: Claims, buyer: ProcessLock, count: int) -> list[Purchase]:
        """Up to `count` open purchases of this buyer, written before they are sent: orphaned ones first, then new.

        Raises:
            CacheError: the cache cannot be written, or has no room for answers that would be paid for again.
        """
        with self.writing() as connection:
            cached = self._cached(connection, claims)
            taken = claims.take(connection, cached, self.is_alive, buyer, count, now=self._clock())
            if taken and not claims.repeats_are_free:
                self._hold_spare_room()
            return taken

    def open_purchases(self, teacher_id: str) -> list[Purchase]:
        """The open purchases of a teacher's outputs, oldest first."""
        with self.reading() as connection:
            return open_purchases(connection, teacher_id)

    def purchases(self) -> Iterator[PurchaseRecord]:
        """All purchases, of all accounts, oldest first."""
        with self.reading() as connection:
            yield from purchase_records(connection)

    def complete(
        self,
        purchase: Purchase,
        outputs: Mapping[str, NDArray[np.float32]],
        *,
        teacher_id: str | None = None,
        query_id: str | None = None,
        raw: RawAnswer | None = None,
    ) -> None:
        """Cache the outputs of a purchase, and mark it done.

        Names that a database cannot hold are stored as well as possible. If the database is locked or disconnected,
        this waits and retries. If the disk is full, it uses the spare room. A purchase that became void meanwhile
        becomes done all the same.

        Args:
            purchase: an open purchase.
            outputs: for each kind, float32 `[samples, ...]` in the order of the purchase's sample keys.
            teacher_id: the teacher that answered, if it is another one; the outputs are cached as its own.
            query_id: the teacher's id of the request.
            raw: the response, if it must be kept beside its outputs.
        """
        packed = {kind: np.ascontiguousarray(outputs[kind], dtype="<f4") for kind in purchase.kinds}
        for kind, values in packed.items():
            if len(values) != len(purchase.sample_keys):
                raise ValueError(f"{kind}: expected {len(purchase.sample_keys)} outputs, got {len(values)}")

        def write(connection: Connection, is_retry: bool) -> None:
            if not (is_retry and is_done(connection, purchase)):
                complete_purchase(
                    connection,
                    purchase,
                    packed,
                    teacher_id=teacher_id,
                    query_id=query_id,
                    stream_ids=self._stream_ids,
                    now=self._clock(),
                )
                if raw is not None:
                    keep_raw(connection, purchase, raw, now=self._clock())

        self._write_paid(write)

    def keep(self, purchase: Purchase, raw: RawAnswer, *, reason: str, query_id: str | None = None) -> None:
        """Keep an answer that was paid and cannot be read, and mark its purchase unread.

        If the database is locked or disconnected, this waits and retries. If the disk is full, it uses the spare room.
        """

        def write(connection: Connection, is_retry: bool) -> None:
            if not (is_retry and is_kept(connection, purchase)):
                mark_unread(connection, purchase, query_id=query_id, now=self._clock())
                keep_raw(connection, purchase, raw, reason=reason, now=self._clock())

        self._write_paid(write)

    def void(self, purchase: Purchase) -> None:
        """Make a purchase void that was certainly not charged, unless another process took it over."""
        with self.writing() as connection:
            void_purchase(connection, purchase, now=self._clock())

    def abandonable(self, teacher_id: str, *, source: str | None = None) -> list[Purchase]:
        """The open and unread purchases whose buyers are not alive, which a user may give up.

        Args:
            teacher_id: the teacher of the outputs.
            source: also purchases of this source; see `raw_answers.kept_answers`.
        """
        with self.reading() as connection:
            of_teacher = (
                *open_purchases(connection, teacher_id, source),
                *unread_purchases(connection, teacher_id, source),
            )
            return [purchase for purchase in of_teacher if not self.is_alive(purchase.buyer_id)]

    def save_teacher(self, address: str, description: Mapping[str, Any]) -> None:
        """Save the description that the teacher at an address returned.

        A cache that can only be read stays as it is.
        """
        if self.is_read_only:
            return
        row = {"address": address, "description": json.dumps(description), "seen_at": self._clock()}
        with self.writing() as connection:
            connection.execute(delete(schema.addresses).where(schema.addresses.c.address == address))
            connection.execute(insert(schema.addresses).values(row))

    def teacher_description(self, address: str) -> tuple[dict[str, Any], float] | None:
        """The last description of the teacher at an address, and when it was saved, in seconds since the epoch."""
        with self.reading() as connection:
            row = connection.execute(select(schema.addresses).where(schema.addresses.c.address == address)).first()
        return None if row is None else (json.loads(row.description), row.seen_at)

    def save_class_names(self, teacher_id: str, names: Sequence[str] | None) -> None:
        """Save the names of a teacher's classes, in the order of its outputs, unless some are saved.

        A cache that can only be read stays as it is.
        """
        if self.is_read_only:
            return
        with self.writing() as connection:
            save_class_names(connection, teacher_id, names)

    def class_names(self, teacher_id: str) -> tuple[str, ...] | None:
        """The names of a teacher's classes, in the order of its outputs; None if none are saved."""
        with self.reading() as connection:
            return class_names_of(connection, teacher_id)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction during which no other process writes. Raises `CacheError` where the cache can only be read."""
        self.check_writable()
        with explained(self._place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, and never waits for a writer."""
        with explained(self._place), reading(self._engine) as connection:
            yield connection

    def current_holdings(self, connection: Connection, stream_id: int) -> Holdings:
        """The samples of a stream that are cached, as this transaction sees them."""
        holdings = self._holdings.setdefault(stream_id, Holdings(stream_id))
        holdings.refresh(connection)
        return holdings

    def _hold_spare_room(self) -> None:
        if self._spare_room is None:
            return
        try:
            self._spare_room.hold()
        except OSError as error:
            raise CacheError(
                f"{self.place}: expected disk space for the paid answers in flight, got too little ({error.strerror}); "
                "no more was sent. Free some space, and run the same command again: what is in the cache is whole"
            ) from error

    def _write_paid(self, write: Callable[[Connection, bool], None]) -> None:
        with explained(self._place):
            try:
                with_write_retry(self._engine.begin, write, self._sleep)
            except DBAPIError as error:
                if self._spare_room is None or not is_short_of_space(error) or not self._spare_room.give_up():
                    raise
                with_write_retry(self._engine.begin, lambda connection, _: write(connection, True), self._sleep)

    def _cached(self, connection: Connection, claims: Claims) -> list[Holdings]:
        return [self.current_holdings(connection, stream_id) for stream_id in claims.stream_ids]
