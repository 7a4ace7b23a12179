"""Answers that were kept for as long as was promised are emptied, a few at a time, while the service runs."""

import asyncio
from typing import Final

import structlog

from teacher_service.errors.service_errors import LedgerUnavailable
from teacher_service.ledger.ledger import Ledger

_EVERY_SECONDS: Final = 60.0
_PORTION: Final = 500
"""Answers emptied in one transaction: few enough for a request to wait behind it unnoticed."""

_log = structlog.get_logger(__name__)


async def forget_answers(ledger: Ledger) -> None:
    """Empty them, now and then, until cancelled."""
    while True:
        try:
            emptied = await asyncio.wrap_future(ledger.forget_answers(_PORTION))
        except LedgerUnavailable as error:
            _log.warning("retention_postponed", error=error.detail)
            emptied = 0
        if emptied < _PORTION:
            await asyncio.sleep(_EVERY_SECONDS)
