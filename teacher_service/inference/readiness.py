"""Whether the next query would be counted and answered. Load balancers ask often, so that the answer is kept a while.

The ledger is asked to write, not only to read: on a full disk it reads perfectly.
"""

import asyncio
from typing import Final

from teacher_service.errors.service_errors import Draining, LedgerUnavailable, ServiceError
from teacher_service.inference.query_runner import Desk
from teacher_service.ledger.ledger import Clock, Ledger

_KEPT_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 2.0
"""A ledger that takes longer to write nothing is as good as gone."""


class Readiness:
    """Of one service."""

    def __init__(self, ledger: Ledger, desk: Desk, clock: Clock) -> None:
        self._ledger = ledger
        self._desk = desk
        self._clock = clock
        self._trial: asyncio.Task[ServiceError | None] | None = None
        self._tried_at = 0.0

    async def check(self) -> None:
        """Return when the service is ready.

        Raises:
            Draining: it is about to stop.
            LedgerUnavailable: nothing can be written, so no query would be admitted.
        """
        if self._desk.is_draining:
            raise Draining
        if self._trial is None or (self._trial.done() and abs(self._clock() - self._tried_at) >= _KEPT_SECONDS):
            self._trial = asyncio.create_task(self._try(), name="readiness")
        problem = await asyncio.shield(self._trial)
        if problem is not None:
            raise problem

    async def _try(self) -> ServiceError | None:
        written = asyncio.wrap_future(self._ledger.try_to_write())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await asyncio.shield(written)
        except ServiceError as problem:
            return problem
        except TimeoutError:
            written.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # heard too late
            return LedgerUnavailable(f"The ledger took longer than {_PATIENCE_SECONDS:g} s to write.")
        finally:
            self._tried_at = self._clock()
        return None
