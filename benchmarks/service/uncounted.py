"""Our service without its quota and its durable log: `teacher-service`, with a ledger that counts nothing.

`python -m benchmarks.service.uncounted serve ...` takes what `teacher-service serve ...` takes. A key is looked up once
and then known; every reservation is granted, every answer settled, and nothing is written. The difference to the real
service is what counting costs.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar
from unittest.mock import patch

from shared.oip import Body
from teacher_service.cli import command as cli
from teacher_service.database.query_facts import Query
from teacher_service.ledger.ledger import Ledger, Reservation, Settled
from teacher_service.policy.quota import Quota

_Value = TypeVar("_Value")
_UNLIMITED = 10**12


class UncountedLedger(Ledger):
    """Says yes at once, and forgets."""

    def reserve(self, query: Query, key_revision: int = 0) -> "Future[Reservation | Settled]":
        """Every query is admitted."""
        return _done(Reservation(0, query, Quota(query.key_id, "uncounted", _UNLIMITED, 0, 0, revision=key_revision)))

    def settle(self, reservation: Reservation, answer: Body) -> "Future[Settled]":
        """Every answer is given away."""
        return _done(Settled(answer, reservation.quota, replayed=False))

    def release(self, reservation: Reservation, answer: Body | None = None) -> "Future[Settled | None]":  # noqa: ARG002
        """Nothing was held."""
        return _done(None)


@contextmanager
def nothing_counted() -> Iterator[None]:
    """Applications that start while this lasts count nothing."""
    with patch("teacher_service.app.application.Ledger", UncountedLedger):
        yield


def _done(value: _Value) -> "Future[_Value]":
    future: Future[_Value] = Future()
    future.set_result(value)
    return future


if __name__ == "__main__":
    with nothing_counted():
        cli.main()
