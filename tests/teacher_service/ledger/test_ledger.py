"""Counting: what is held, charged and given back, one operation at a time and many at once."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, TypeVar

import pytest

from shared.oip import Body
from teacher_service.errors.service_errors import (
    IdempotencyMismatch,
    LedgerUnavailable,
    QuotaExceeded,
    RequestInProgress,
)
from teacher_service.ledger.ledger import Ledger, Reservation, Settled
from tests.teacher_service.ledger_file import WAIT_SECONDS, Books, Commits, open_books, query, rows, writer_busy

_T = TypeVar("_T")
_ANSWER = Body(b'{"outputs":[]}\x00\x01', 14)


@pytest.fixture
def books(ledger_place: Path | str) -> Iterator[Books]:
    """An empty ledger of each kind."""
    with open_books(ledger_place) as opened:
        yield opened


def _result(future: "Future[_T]") -> _T:
    return future.result(WAIT_SECONDS)


def _reserve(books: Books, key: str, samples: int, idempotency_key: str | None = None) -> Reservation:
    held = _result(books.ledger.reserve(query(key, samples, idempotency_key=idempotency_key)))
    assert isinstance(held, Reservation)
    return held


def test_reservation_is_logged_before_and_settled_after(books: Books) -> None:
    """What the log says of a query, from its hold to its charge."""
    key = books.key(10)
    books.clock.now = 100.0
    held = _result(books.ledger.reserve(query(key, 4, idempotency_key="i", payload="sha", request_id="req-1")))
    assert isinstance(held, Reservation)
    log = (
        "SELECT request_id, key_id, samples, payload_sha256, status, instance_id, created_at, finished_at FROM queries"
    )
    assert rows(books.path, log) == [("req-1", key, 4, "sha", "held", books.instance.id, 100.0, None)]
    assert (held.quota.used, held.quota.reserved, held.quota.remaining) == (0, 4, 6)
    books.clock.now = 101.5
    settled = _result(books.ledger.settle(held, _ANSWER))
    assert rows(books.path, log) == [("req-1", key, 4, "sha", "settled", books.instance.id, 100.0, 101.5)]
    assert (settled.quota.used, settled.quota.reserved, settled.quota.remaining) == (4, 0, 6)
    assert (settled.answer, settled.replayed) == (_ANSWER, False)


def test_release_gives_the_samples_and_the_idempotency_key_back(books: Books) -> None:
    key = books.key(5)
    held = _reserve(books, key, 5, "i")
    _result(books.ledger.release(held))
    assert books.counts(key) == (0, 0)
    assert _reserve(books, key, 5, "i").query_id != held.query_id


def test_releasing_twice_or_after_the_charge_changes_nothing(books: Books) -> None:
    key = books.key(10)
    released, settled = _reserve(books, key, 2), _reserve(books, key, 3)
    _result(books.ledger.settle(settled, _ANSWER))
    for reservation in (released, released, settled):
        _result(books.ledger.release(reservation))
    assert books.counts(key) == (3, 0)


def test_settling_what_is_not_held_is_refused_and_charges_nothing(books: Books) -> None:
    key = books.key(10)
    released, settled = _reserve(books, key, 2), _reserve(books, key, 3)
    _result(books.ledger.release(released))
    _result(books.ledger.settle(settled, _ANSWER))
    for reservation in (released, settled):
        with pytest.raises(LedgerUnavailable, match="hold on this request was lost"):
            _result(books.ledger.settle(reservation, _ANSWER))
    assert books.counts(key) == (3, 0)


def test_refusal_says_what_remains_and_costs_nothing(books: Books) -> None:
    key = books.key(10)
    _result(books.ledger.settle(_reserve(books, key, 3), _ANSWER))
    _reserve(books, key, 2)
    with pytest.raises(QuotaExceeded) as refused:
        _result(books.ledger.reserve(query(key, 6, idempotency_key="i")))
    assert refused.value.facts == {"limit": 10, "remaining": 5, "cost": 6}
    assert books.counts(key) == (3, 2)
    assert rows(books.path, "SELECT * FROM answers") == [], "a refused request takes no Idempotency-Key"
    _reserve(books, key, 5, "i")


def test_replay_is_free_and_identical_even_when_nothing_remains(books: Books) -> None:
    key = books.key(4)
    _result(books.ledger.settle(_reserve(books, key, 4, "i"), _ANSWER))
    for _ in range(2):
        replay = _result(books.ledger.reserve(query(key, 4, idempotency_key="i")))
        assert isinstance(replay, Settled)
        assert (replay.answer, replay.replayed, replay.quota.used) == (_ANSWER, True, 4)
    assert books.counts(key) == (4, 0)


def test_replay_keeps_an_answer_without_a_binary_part(books: Books) -> None:
    key = books.key(1)
    _result(books.ledger.settle(_reserve(books, key, 1, "i"), Body(b"{}", None)))
    replay = _result(books.ledger.reserve(query(key, 1, idempotency_key="i")))
    assert isinstance(replay, Settled)
    assert replay.answer == Body(b"{}", None)


def test_idempotency_keys_belong_to_their_api_key(books: Books) -> None:
    first, second = books.key(5), books.key(5)
    _reserve(books, first, 2, "i")
    _reserve(books, second, 3, "i")
    assert (books.counts(first), books.counts(second)) == ((0, 2), (0, 3))


def test_failed_commit_admits_and_charges_nothing(books: Books) -> None:
    key = books.key(10)
    held = _reserve(books, key, 2)
    commits = Commits(books.engine)
    for operation in (lambda: books.ledger.reserve(query(key, 3)), lambda: books.ledger.settle(held, _ANSWER)):
        commits.failing = 1
        with pytest.raises(LedgerUnavailable):
            operation().result(WAIT_SECONDS)
        assert books.counts(key) == (0, 2)
    assert _result(books.ledger.settle(held, _ANSWER)).quota.used == 2


def test_hold_whose_commit_was_not_acknowledged_is_released_before_the_next_reservation(books: Books) -> None:
    """Its request failed, so a repetition is admitted, and another request may have the samples."""
    key, others = books.key(10), books.key(10)
    in_flight = _reserve(books, others, 4)
    commits = Commits(books.engine)
    commits.unacknowledged = 2
    for samples in (8, 9):
        with pytest.raises(LedgerUnavailable):
            _result(books.ledger.reserve(query(key, samples, idempotency_key="i")))
    assert books.counts(key) == (0, 9)
    held = _reserve(books, key, 7, "i")
    assert _reserve(books, key, 3).query_id == held.query_id + 1
    assert (books.counts(key), books.counts(others)) == ((0, 10), (0, 4)), "those in flight are not touched"
    _result(books.ledger.settle(held, _ANSWER))
    _result(books.ledger.settle(in_flight, _ANSWER))
    assert (books.counts(key), books.counts(others)) == ((7, 3), (4, 0))


def test_hold_that_was_not_committed_lends_its_number_to_one_that_stays(books: Books) -> None:
    """The query id is used again, by this process or another, and what fails under it later is all that is released."""
    key = books.key(10)
    commits = Commits(books.engine)
    commits.failing = 1
    with pytest.raises(LedgerUnavailable):
        _result(books.ledger.reserve(query(key, 1)))
    with open_books(books.path) as peer:
        first = _reserve(peer, key, 2)
        commits.failing = 1
        with pytest.raises(LedgerUnavailable):
            _result(books.ledger.reserve(query(key, 1)))
        second = _reserve(books, key, 3)
        _reserve(books, key, 4)
        assert (first.query_id, second.query_id) == (1, 2)
        assert books.counts(key) == (0, 9)


def test_release_after_a_failed_settlement_says_whether_it_was_charged(books: Books) -> None:
    key = books.key(10)
    lost, arrived = _reserve(books, key, 2), _reserve(books, key, 3, "i")
    commits = Commits(books.engine)
    commits.failing = 1
    with pytest.raises(LedgerUnavailable, match="unknown"):
        _result(books.ledger.settle(lost, _ANSWER))
    assert _result(books.ledger.release(lost, _ANSWER)) is None
    commits.unacknowledged = 1
    with pytest.raises(LedgerUnavailable, match="unknown"):
        _result(books.ledger.settle(arrived, _ANSWER))
    settled = _result(books.ledger.release(arrived, _ANSWER))
    assert settled is not None
    assert (settled.answer, settled.replayed, settled.quota.used) == (_ANSWER, False, 3)
    assert settled.kept_until == books.clock.now + 86_400
    assert books.counts(key) == (3, 0)


def test_reservations_of_one_group_do_not_overdraw(books: Books) -> None:
    """Gathered into one commit, 40 requests for 3 samples compete for 100: 33 get them."""
    key = books.key(100)
    with writer_busy(books.commits):
        futures = [books.ledger.reserve(query(key, 3)) for _ in range(40)]
    outcomes = [future.exception(WAIT_SECONDS) for future in futures]
    assert [type(outcome) for outcome in outcomes] == [type(None)] * 33 + [QuotaExceeded] * 7
    assert books.counts(key) == (0, 99)


def test_operations_of_one_group_see_each_other(books: Books) -> None:
    """A repetition gathered with its answer replays it; one gathered with its release begins anew."""
    key = books.key(5)
    answered, failed = _reserve(books, key, 2, "answered"), _reserve(books, key, 2, "failed")
    ledger = books.ledger
    with writer_busy(books.commits):
        futures: list[Future[Any]] = [
            ledger.settle(answered, _ANSWER),
            ledger.reserve(query(key, 2, idempotency_key="answered")),
            ledger.reserve(query(key, 2, idempotency_key="answered", payload="another")),
            ledger.reserve(query(key, 3, idempotency_key="fresh")),
            ledger.release(failed),
            ledger.reserve(query(key, 3, idempotency_key="failed")),
            ledger.reserve(query(key, 3, idempotency_key="failed")),
        ]
    charged, replayed, other, refused, released, again, twin = (
        future.exception(WAIT_SECONDS) or future.result() for future in futures
    )
    assert isinstance(charged, Settled)
    assert replayed == Settled(_ANSWER, charged.quota, replayed=True, kept_until=charged.kept_until)
    assert isinstance(other, IdempotencyMismatch)
    assert isinstance(refused, QuotaExceeded)
    assert refused.facts == {"limit": 5, "remaining": 1, "cost": 3}
    assert released is None
    assert isinstance(again, Reservation)
    assert isinstance(twin, RequestInProgress)
    assert books.counts(key) == (2, 3)
    assert rows(books.path, "SELECT id, status FROM queries ORDER BY id") == [
        (1, "settled"),
        (2, "released"),
        (3, "held"),
    ]
    assert rows(books.path, "SELECT idempotency_key, query_id FROM answers ORDER BY 2") == [
        ("answered", 1),
        ("failed", 3),
    ]


def test_reservations_of_two_processes_do_not_overdraw(books: Books) -> None:
    """Two writers on one file, each with connections of its own, start together."""
    key = books.key(50)
    admitted: list[int] = []
    start = Barrier(2)

    def buy(ledger: Ledger) -> None:
        start.wait(WAIT_SECONDS)
        futures = [ledger.reserve(query(key, 1)) for _ in range(40)]
        admitted.append(sum(future.exception(WAIT_SECONDS) is None for future in futures))

    with open_books(books.path) as peer:
        threads = [Thread(target=buy, args=(ledger,)) for ledger in (books.ledger, peer.ledger)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(admitted) == 50
    assert books.counts(key) == (0, 50)


_BUYER = """
import sys
from pathlib import Path
from tests.teacher_service.ledger_file import open_books, query
with open_books(Path(sys.argv[1]) if sys.argv[1].startswith("/") else sys.argv[1]) as books:
    for samples in (3, 4):
        books.ledger.reserve(query(sys.argv[2], samples, idempotency_key=f"i{samples}")).result()
    print("reserved", flush=True)
    sys.stdin.read()
"""


def test_holds_of_a_killed_process_are_released_and_those_of_a_live_one_kept(books: Books) -> None:
    """A real process, killed while it holds 7 samples; its Idempotency-Keys are free again."""
    key = books.key(20)
    _reserve(books, key, 5, "mine")
    command = [sys.executable, "-c", _BUYER, str(books.path), key]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as buyer:
        assert buyer.stdout
        assert buyer.stdout.readline() == "reserved\n"
        assert books.ledger.recover() == 0
        assert books.counts(key) == (0, 12)
        buyer.kill()
    with open_books(books.path) as heir:
        assert heir.ledger.recover() == 7
        assert books.counts(key) == (0, 5)
        assert heir.ledger.recover() == 0
        _reserve(heir, key, 4, "i4")
        with pytest.raises(RequestInProgress):
            _result(heir.ledger.reserve(query(key, 5, idempotency_key="mine")))
