"""The task that empties stored answers when their retention time is over, a few at a time, while the service runs."""

import asyncio
from typing import Final

import structlog

from teacher_service.errors.service_errors import LedgerUnavailable
from teacher_service.ledger.ledger import Ledger

_EVERY_SECONDS: Final = 60.0
_PORTION: Final = 500
"""Answers emptied in one transaction: so few that a request which waits for it is hardly delayed."""

_log = structlog.get_logger(__name__)


async def forget_answers(ledger: Ledger) -> None:
    """Empty expired answers every minute, until cancelled."""
    while True:
        try:
            emptied = await asyncio.wrap_future(ledger.forget_answers(_PORTION))
        except LedgerUnavailable as error:
            _log.warning("retention_postponed", error=error.detail)
            emptied = 0
        if emptied < _PORTION:
            await asyncio.sleep(_EVERY_SECONDS)
