"""One query from start to end: hold the allowance, run the model, charge, answer.

Invariant: every reservation is settled or released, whatever the model, the ledger or the client does. Once admitted,
a query is finished even when its client hangs up: it is then charged once and can be replayed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

from shared.oip import Body
from teacher_service.batcher import Images, MicroBatcher, Rows
from teacher_service.errors import LedgerUnavailable
from teacher_service.ledger import Ledger, Query, Reservation, Settled

_RELEASE_RETRY_SECONDS = 1.0

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class Desk:
    """Answers queries with a ledger and a batcher."""

    def __init__(self, ledger: Ledger, batcher: MicroBatcher) -> None:
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
    ) -> Settled:
        """The paid-for answer to a query.

        Raises:
            ServiceError: the query was refused or failed; nothing was charged for it.
        """
        task = _start(self._answer(query, images, encode, outputs, key_revision), self._queries)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Finish every admitted query. Holds that cannot be released now are released at the next start."""
        await asyncio.gather(*self._queries, return_exceptions=True)
        for task in self._late_releases:
            task.cancel()
        await asyncio.gather(*self._late_releases, return_exceptions=True)

    async def _answer(
        self,
        query: Query,
        images: Images,
        encode: Callable[[Rows], Body],
        outputs: tuple[str, ...],
        key_revision: int,
    ) -> Settled:
        with self._batcher.room(query.samples):
            held = await asyncio.wrap_future(self._ledger.reserve(query, key_revision))
            if isinstance(held, Settled):
                return held
            try:
                answer = encode(await self._batcher.predict(images, outputs))
                return await asyncio.wrap_future(self._ledger.settle(held, answer))
            except BaseException:
                await self._release(held)
                raise

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


def _start(work: Coroutine[Any, Any, _T], keep: set[asyncio.Task[Any]]) -> asyncio.Task[_T]:
    task = asyncio.create_task(work)
    keep.add(task)
    task.add_done_callback(keep.discard)
    return task
