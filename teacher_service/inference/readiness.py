"""Whether the next query would be counted and answered. Load balancers probe often, so the result is cached.

The check writes to the ledger, as a read still succeeds on a full disk.
"""

import asyncio
from typing import Final

from teacher_service.errors.service_errors import Draining, LedgerUnavailable, ServiceError
from teacher_service.inference.query_runner import QueryRunner
from teacher_service.ledger.ledger import Clock, Ledger

_CACHE_SECONDS: Final = 1.0
_TIMEOUT_SECONDS: Final = 2.0
"""Time after which the ledger counts as unavailable."""


class Readiness:
    """The readiness of one service."""

    def __init__(self, ledger: Ledger, query_runner: QueryRunner, clock: Clock) -> None:
        self._ledger = ledger
        self._query_runner = query_runner
        self._clock = clock
        self._check_task: asyncio.Task[ServiceError | None] | None = None
        self._checked_at = 0.0

    async def check(self) -> None:
        """Return if the service is ready.

        Raises:
            Draining: the service is about to stop.
            LedgerUnavailable: the ledger cannot be written, so no query would be admitted.
        """
        if self._query_runner.is_draining:
            raise Draining
        if self._check_task is None or (
            self._check_task.done() and abs(self._clock() - self._checked_at) >= _CACHE_SECONDS
        ):
            self._check_task = asyncio.create_task(self._try_to_write(), name="readiness")
        problem = await asyncio.shield(self._check_task)
        if problem is not None:
            raise problem

    async def _try_to_write(self) -> ServiceError | None:
        written = asyncio.wrap_future(self._ledger.try_to_write())
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await asyncio.shield(written)
        except ServiceError as problem:
            return problem
        except TimeoutError:
            written.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # the result comes too late
            return LedgerUnavailable(
                f"The ledger took longer than {_TIMEOUT_SECONDS:g} s to write. Try again after Retry-After."
            )
        finally:
            self._checked_at = self._clock()
        return None
