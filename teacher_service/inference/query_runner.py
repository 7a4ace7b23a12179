"""Run one query from start to end: hold its samples, run the model, charge, store the answer.

Invariant: every reservation is settled or released exactly once, whatever the model, the ledger or the client does. A
query whose client disconnects before the model took its images costs nothing; after that it is finished, charged once,
and can be replayed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog

from shared.oip import Body
from teacher_service.database.query_facts import Query
from teacher_service.errors.service_errors import Draining, LedgerUnavailable
from teacher_service.inference.batcher import Images, MicroBatcher, QueueSlot, Rows
from teacher_service.ledger.ledger import Ledger, Reservation, Settled

_RELEASE_RETRY_SECONDS: Final = 1.0
_UNWATCHED_SECONDS: Final = 0.05
"""Time before the service starts to watch for a disconnect: most queries are answered by then."""

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True)
class QueryResult:
    """A charged answer, with its samples, queue time and compute time; all 0 in a replay."""

    settled: Settled
    samples: int = 0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0


class QueryRunner:
    """Runs queries on a ledger and a batcher."""

    def __init__(self, ledger: Ledger, batcher: MicroBatcher) -> None:
        self.is_draining = False
        self._ledger = ledger
        self._batcher = batcher
        self._queries: set[asyncio.Task[Any]] = set()
        self._late_releases: set[asyncio.Task[Any]] = set()

    async def answer(
        self,
        query: Query,
        images: Images,
        encode: Callable[[Rows], Body],
        outputs: tuple[str, ...] = ("logits",),
        key_revision: int = 0,
        *,
        disconnected: Callable[[], Awaitable[object]] | None = None,
    ) -> QueryResult:
        """Run the query and charge it, or replay its stored answer.

        Args:
            query: the query, as the log records it.
            images: uint8 `[samples, C, H, W]`.
            encode: encodes the model's rows as a response body.
            outputs: names of the outputs to compute.
            key_revision: revision of the key's terms against which the query was checked.
            disconnected: returns once the client has disconnected. Called only if the answer takes long.

        Raises:
            LedgerUnavailable: the ledger failed. Its message says whether the query may be charged; if so, a repetition
                under the same Idempotency-Key is charged no second time.
            ServiceError: the query was rejected, abandoned or failed; nothing was charged.
        """
        if self.is_draining:
            raise Draining
        slot = self._batcher.admit(query.samples)
        task = _start_task(self._answer(slot, query, images, encode, outputs, key_revision), self._queries)
        with _abandoned_on_disconnect(disconnected, slot):
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                slot.abandon()
                raise

    @property
    def is_idle(self) -> bool:
        """Whether no query is in flight."""
        return not self._queries

    @property
    def pending_samples(self) -> int:
        """Samples admitted and not yet answered."""
        return self._batcher.admitted_samples

    def stop_admitting(self) -> None:
        """Reject new queries from now on; those in flight are finished."""
        self.is_draining = True

    async def drain(self) -> None:
        """Wait for every query in flight. Holds that cannot be released now are released at the next start."""
        await asyncio.gather(*self._queries, return_exceptions=True)
        for task in self._late_releases:
            task.cancel()
        await asyncio.gather(*self._late_releases, return_exceptions=True)

    async def _answer(
        self,
        slot: QueueSlot,
        query: Query,
        images: Images,
        encode: Callable[[Rows], Body],
        outputs: tuple[str, ...],
        key_revision: int,
    ) -> QueryResult:
        try:
            held = await asyncio.wrap_future(self._ledger.reserve(query, key_revision))
            if isinstance(held, Settled):
                return QueryResult(held)
            try:
                answer = encode(await slot.predict(images, outputs))
            except BaseException:
                await self._release(held)
                raise
            settled = await self._settle(held, answer)
            return QueryResult(settled, slot.samples, slot.queue_seconds, slot.compute_seconds)
        finally:
            slot.leave()

    async def _settle(self, reservation: Reservation, answer: Body) -> Settled:
        """Charge the samples, or release them if that fails; after a broken connection, find out which happened."""
        try:
            return await asyncio.wrap_future(self._ledger.settle(reservation, answer))
        except LedgerUnavailable as error:
            is_ended, settled = await self._release(reservation, answer)
            if settled is not None:
                return settled
            if is_ended:
                raise LedgerUnavailable(
                    "The ledger did not record the charge, so nothing was charged. Try again soon."
                ) from error
            raise
        except BaseException:
            await self._release(reservation)
            raise

    async def _release(self, reservation: Reservation, answer: Body | None = None) -> tuple[bool, Settled | None]:
        """Release the samples, later if the ledger is down; whether it was done now, and as `Ledger.release`."""
        try:
            return True, await asyncio.wrap_future(self._ledger.release(reservation, answer))
        except LedgerUnavailable:
            _log.warning("release_postponed", query_id=reservation.query_id)
            _start_task(self._release_later(reservation), self._late_releases)
            return False, None

    async def _release_later(self, reservation: Reservation) -> None:
        while True:
            await asyncio.sleep(_RELEASE_RETRY_SECONDS)
            try:
                await asyncio.wrap_future(self._ledger.release(reservation))
            except LedgerUnavailable:
                continue
            return


@contextmanager
def _abandoned_on_disconnect(disconnected: Callable[[], Awaitable[object]] | None, slot: QueueSlot) -> Iterator[None]:
    """Abandon the slot if the client disconnects while the context is active."""
    if disconnected is None:
        yield
        return
    watch: list[asyncio.Task[None]] = []

    async def abandon_on_disconnect() -> None:
        await disconnected()
        slot.abandon()

    timer = asyncio.get_running_loop().call_later(
        _UNWATCHED_SECONDS, lambda: watch.append(asyncio.create_task(abandon_on_disconnect()))
    )
    try:
        yield
    finally:
        timer.cancel()
        for task in watch:
            task.cancel()


def _start_task(work: Coroutine[Any, Any, _T], keep: set[asyncio.Task[Any]]) -> asyncio.Task[_T]:
    task = asyncio.create_task(work)
    keep.add(task)

    def end(ended: asyncio.Task[_T]) -> None:
        keep.discard(ended)
        if not ended.cancelled():
            ended.exception()  # if the caller was cancelled, no one else retrieves it

    task.add_done_callback(end)
    return task
