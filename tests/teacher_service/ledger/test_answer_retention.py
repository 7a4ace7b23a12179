"""Answers are kept for as long as was promised, and that they were given is known for ever."""

from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from shared.oip import Body
from teacher_service.errors.service_errors import AnswerExpired, IdempotencyMismatch
from teacher_service.ledger.ledger import Ledger, Reservation, Settled
from tests.teacher_service.ledger_file import WAIT_SECONDS, Books, open_books, query, rows

ANSWER = Body(b'{"outputs":[]}', None)


@pytest.fixture
def books(ledger_place: Path | str) -> Iterator[Books]:
    """An empty ledger of each kind."""
    with open_books(ledger_place) as opened:
        opened.clock.now = 1000.0
        yield opened


def _answered(books: Books, key: str, idempotency_key: str | None, retention_seconds: float = 100.0) -> Settled:
    ledger = Ledger(books.engine, books.commits, books.instance, books.clock, retention_seconds=retention_seconds)
    held = ledger.reserve(query(key, 2, idempotency_key=idempotency_key)).result(WAIT_SECONDS)
    assert isinstance(held, Reservation)
    return ledger.settle(held, ANSWER).result(WAIT_SECONDS)


def test_answer_says_how_long_it_is_kept(books: Books) -> None:
    key = books.key(10)
    assert _answered(books, key, "i").kept_until == 1100.0
    assert _answered(books, key, None).kept_until is None
    assert _answered(books, key, "for ever", inf).kept_until is None


@pytest.mark.parametrize("emptied", [False, True])
def test_repetition_after_the_end_is_refused_and_costs_nothing(books: Books, emptied: bool) -> None:
    """From the promised moment on, whether or not the answer has been emptied yet."""
    key = books.key(10)
    _answered(books, key, "i")
    books.clock.now = 1099.9
    assert isinstance(books.ledger.reserve(query(key, 2, idempotency_key="i")).result(WAIT_SECONDS), Settled)
    books.clock.now = 1100.0
    if emptied:
        assert books.ledger.forget_answers().result(WAIT_SECONDS) == 1
    assert books.ledger.replay(key, "i", "p") is None
    with pytest.raises(AnswerExpired, match=r"expired at 1970-01-01T00:18:20\+00:00\. Nothing was charged now"):
        books.ledger.reserve(query(key, 2, idempotency_key="i")).result(WAIT_SECONDS)
    with pytest.raises(IdempotencyMismatch):
        books.ledger.reserve(query(key, 2, idempotency_key="i", payload="other")).result(WAIT_SECONDS)
    assert books.counts(key) == (2, 0)


def test_only_what_has_ended_is_emptied_oldest_first_and_in_portions(books: Books) -> None:
    key = books.key(20)
    for name in "abc":
        _answered(books, key, name)
        books.clock.now += 1
    _answered(books, key, "for ever", inf)
    open_request = books.ledger.reserve(query(key, 1, idempotency_key="open"))
    assert isinstance(open_request.result(WAIT_SECONDS), Reservation)
    books.clock.now = 1101.0
    assert books.ledger.forget_answers(at_most=1).result(WAIT_SECONDS) == 1
    assert books.ledger.forget_answers(at_most=5).result(WAIT_SECONDS) == 1
    assert books.ledger.forget_answers().result(WAIT_SECONDS) == 0
    kept = rows(books.path, "SELECT idempotency_key FROM answers WHERE content IS NOT NULL ORDER BY 1")
    assert kept == [("c",), ("for ever",)]
