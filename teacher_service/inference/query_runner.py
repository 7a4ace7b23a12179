"""One query from start to end: hold the allowance, run the model, charge, answer.

Invariant: every reservation is settled or released, once, whatever the model, the ledger or the client does. A query
whose client hangs up before the model took its images costs nothing; from then on it is finished, charged once, and
can be replayed.
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
from teacher_service.inference.batcher import Images, MicroBatcher, Place, Rows
from teacher_service.ledger.ledger import Ledger, Reservation, Settled

_RELEASE_RETRY_SECONDS: Final = 1.0
_UNWATCHED_SECONDS: Final = 0.05
"""How long a query runs before anybody looks whether its client is still there: most are answered by then."""

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Answered:
    """A paid-for answer; its samples, how long they waited for the model and the model took: all 0 in a replay."""

    settled: Settled
    samples: int = 0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0


class Desk:
    """Answers queries with a ledger and a batcher."""

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
        hung_up: Callable[[], Awaitable[object]] | None = None,
    ) -> Answered:
        """The paid-for answer to a query.

        Args:
            query: what is asked, as the log will say it.
            images: `[samples, C, H, W]`.
            encode: makes the answer of the model's rows.
            outputs: the names of what is asked of each image.
            key_revision: that of the terms on which the caller let the query pass.
            hung_up: returns once the client is gone. Called only when the answer takes its time.

        Raises:
            ServiceError: the query was refused, given up or failed; nothing was charged for it.
        """
        if self.is_draining:
            raise Draining
        place = self._batcher.admit(query.samples)
        task = _start(self._answer(place, query, images, encode, outputs, key_revision), self._queries)
        with _given_up_once(hung_up, place):
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                place.give_up()
                raise

    @property
    def is_idle(self) -> bool:
        """Whether no query is on its way."""
        return not self._queries

    @property
    def pending_samples(self) -> int:
        """Samples admitted and not yet answered."""
        return self._batcher.admitted_samples

    def stop_admitting(self) -> None:
        """Refuse every new query from now on; those on their way are finished."""
        self.is_draining = True

    async def drain(self) -> None:
        """Finish every admitted query. Holds that cannot be released now are released at the next start."""
        await asyncio.gather(*self._queries, return_exceptions=True)
        for task in self._late_releases:
            task.cancel()
        await asyncio.gather(*self._late_releases, return_exceptions=True)

    async def _answer(
        self,
        place: Place,
        query: Query,
        images: Images,
        encode: Callable[[Rows], Body],
        outputs: tuple[str, ...],
        key_revision: int,
    ) -> Answered:
        try:
            held = await asyncio.wrap_future(self._ledger.reserve(query, key_revision))
            if isinstance(held, Settled):
                return Answered(held)
            try:
                answer = encode(await place.predict(images, outputs))
                settled = await asyncio.wrap_future(self._ledger.settle(held, answer))
            except BaseException:
                await self._release(held)
                raise
            return Answered(settled, place.samples, place.queue_seconds, place.compute_seconds)
        finally:
            place.leave()

    async def _release(self, reservation: Reservation) -> None:
        try:
            await asyncio.wrap_future(self._ledger.release(reservation))
        except LedgerUnavailable:
            _log.warning("release_postponed", query_id=reservation.query_id)
            _start(self._release_later(reservation), self._late_releases)

    async def _release_later(self, reservation: Reservation) -> None:
        while True:
            await asyncio.sleep(_RELEASE_RETRY_SECONDS)
            try:
                return await asyncio.wrap_future(self._ledger.release(reservation))
            except LedgerUnavailable:
                continue


@contextmanager
def _given_up_once(hung_up: Callable[[], Awaitable[object]] | None, place: Place) -> Iterator[None]:
    """Give the place up when the client is gone, for as long as the context lasts."""
    if hung_up is None:
        yield
        return
    watch: list[asyncio.Task[None]] = []

    async def give_up_in_time() -> None:
        await hung_up()
        place.give_up()

    timer = asyncio.get_running_loop().call_later(
        _UNWATCHED_SECONDS, lambda: watch.append(asyncio.create_task(give_up_in_time()))
    )
    try:
        yield
    finally:
        timer.cancel()
        for task in watch:
            task.cancel()


def _start(work: Coroutine[Any, Any, _T], keep: set[asyncio.Task[Any]]) -> asyncio.Task[_T]:
    task = asyncio.create_task(work)
    keep.add(task)

    def end(ended: asyncio.Task[_T]) -> None:
        keep.discard(ended)
        if not ended.cancelled():
            ended.exception()  # nobody is left to hear it when the caller was cancelled

    task.add_done_callback(end)
    return task
