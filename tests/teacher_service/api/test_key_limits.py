"""Terms of a key, as the ledger enforces them: burst limits, concurrency, expiry, and changes while a request runs."""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest

from shared.oip import Body
from teacher_service.errors.service_errors import (
    KeyChanged,
    QuotaExceeded,
    RateLimited,
    TooManyAtOnce,
    TooManySamples,
    Unauthorized,
)
from teacher_service.ledger.ledger import Reservation, Settled
from teacher_service.policy.key_terms import KeyTerms
from tests.teacher_service.ledger_file import WAIT_SECONDS, Books, open_books, query, rows

_T = TypeVar("_T")
ANSWER = Body(b"{}", None)


@pytest.fixture
def books(ledger_place: Path | str) -> Iterator[Books]:
    """An empty ledger of each kind."""
    with open_books(ledger_place) as opened:
        yield opened


def _result(future: "Future[_T]") -> _T:
    return future.result(WAIT_SECONDS)


def _key(books: Books, quota: int = 1000, **terms: int | float | None) -> str:
    return books.keys.create(f"key {len(books.keys.all())}", quota, terms=KeyTerms(holder="one", **terms)).id  # type: ignore[arg-type]


def _reserve(books: Books, key: str, samples: int = 1, **asked: str) -> Reservation:
    held = _result(books.ledger.reserve(query(key, samples, **asked)))
    assert isinstance(held, Reservation)
    return held


def test_requests_beyond_the_burst_wait_and_cost_nothing(books: Books) -> None:
    key = _key(books, requests_per_minute=2)
    _reserve(books, key), _reserve(books, key)
    with pytest.raises(RateLimited, match="2 requests a minute, and 0 are left") as refused:
        _reserve(books, key)
    assert refused.value.headers() == {"Retry-After": "30"}
    assert books.counts(key) == (0, 2)
    books.clock.now += 30
    _reserve(books, key)
    with pytest.raises(RateLimited):
        _reserve(books, key)


def test_samples_beyond_the_burst_wait_until_they_fit(books: Books) -> None:
    key = _key(books, samples_per_minute=60)
    _reserve(books, key, 50)
    with pytest.raises(RateLimited, match="60 samples a minute, and 10 are left") as refused:
        _reserve(books, key, 15)
    assert refused.value.retry_after_seconds == 5
    books.clock.now += 5
    _reserve(books, key, 15)


def test_more_samples_than_ever_fit_are_refused_for_good(books: Books) -> None:
    key = _key(books, samples_per_minute=10)
    with pytest.raises(TooManySamples, match="at most 10 samples, this key's limit a minute, got 11") as refused:
        _reserve(books, key, 11)
    assert (refused.value.status, refused.value.headers()) == (400, {})
    _reserve(books, key, 10)


def test_as_many_at_once_as_may(books: Books) -> None:
    key = _key(books, max_concurrent=2)
    first, second = _reserve(books, key), _reserve(books, key)
    with pytest.raises(
        TooManyAtOnce, match="expected at most 2 requests in flight, got one more than the 2 in flight now"
    ):
        _reserve(books, key)
    _result(books.ledger.settle(first, ANSWER))
    third = _reserve(books, key)
    _result(books.ledger.release(second))
    _result(books.ledger.release(third))
    assert books.keys.show(key).quota.in_flight == 0


def test_dead_process_occupies_no_place(books: Books) -> None:
    """Its holds count as long as it lives, and not longer."""
    key = _key(books, max_concurrent=1)
    _reserve(books, key)
    rows(books.path, "UPDATE queries SET instance_id = ?", "00" * 8)
    _reserve(books, key, 2)
    assert books.counts(key) == (0, 2)


def test_limits_apply_within_one_commit(books: Books) -> None:
    key = _key(books, requests_per_minute=3)
    futures = [books.ledger.reserve(query(key, 1)) for _ in range(5)]
    assert [type(future.exception(WAIT_SECONDS)) for future in futures] == [type(None)] * 3 + [RateLimited] * 2


def test_refused_requests_count_against_the_burst_alone(books: Books) -> None:
    key = _key(books, requests_per_minute=2)
    quota = _result(books.ledger.count_rejection(key, 0))
    assert quota.requests is not None
    assert (quota.requests.remaining, quota.remaining) == (1, 1000)
    _result(books.ledger.count_rejection(key, 0))
    with pytest.raises(RateLimited):
        _result(books.ledger.count_rejection(key, 0))
    with pytest.raises(RateLimited):
        _reserve(books, key)
    assert books.counts(key) == (0, 0)


def test_replay_needs_no_burst(books: Books) -> None:
    """What was paid for is given, however often it is asked for."""
    key = _key(books, requests_per_minute=1, max_concurrent=1)
    _result(books.ledger.settle(_reserve(books, key, idempotency_key="i"), ANSWER))
    for _ in range(3):
        assert isinstance(_result(books.ledger.reserve(query(key, 1, idempotency_key="i"))), Settled)


def test_exhausted_quota_is_said_before_a_limit(books: Books) -> None:
    """Whoever waits for a limit must not wait in vain."""
    key = _key(books, quota=1, requests_per_minute=1)
    _reserve(books, key)
    with pytest.raises(QuotaExceeded):
        _reserve(books, key)


def test_keys_of_one_holder_share_nothing(books: Books) -> None:
    first, second = _key(books, quota=2, requests_per_minute=1), _key(books, quota=3, requests_per_minute=1)
    _reserve(books, first, 2, idempotency_key="i")
    _reserve(books, second, 3, idempotency_key="i")
    assert (books.counts(first), books.counts(second)) == ((0, 2), (0, 3))


def test_expired_key_is_refused_from_that_moment_on(books: Books) -> None:
    books.clock.now = 100.0
    made = books.keys.create("short", 10, terms=KeyTerms(expires_at=200.0))
    books.clock.now = 199.9
    assert books.keys.authenticate(made.token).remaining == 10
    held = _reserve(books, made.id)
    books.clock.now = 200.0
    for call in (lambda: books.keys.authenticate(made.token), lambda: _reserve(books, made.id)):
        with pytest.raises(Unauthorized):
            call()
    assert _result(books.ledger.settle(held, ANSWER)).quota.used == 1, "what was admitted is finished"


def test_terms_changed_meanwhile_are_noticed(books: Books) -> None:
    """A request let pass on old terms is not admitted, in whichever process they were changed."""
    key = books.keys.create("mine", 10)
    assert books.keys.cached(key.token) is None
    revision = books.keys.authenticate(key.token).revision
    with open_books(books.path) as peer:
        peer.keys.change(key.id, requests_per_minute=1)
    with pytest.raises(KeyChanged):
        _result(books.ledger.reserve(query(key.id, 1), revision))
    with pytest.raises(KeyChanged):
        _result(books.ledger.count_rejection(key.id, revision))
    fresh = books.keys.authenticate(key.token)
    assert (fresh.revision, fresh.terms.requests_per_minute) == (1, 1)
    assert isinstance(_result(books.ledger.reserve(query(key.id, 1), fresh.revision)), Reservation)
    books.keys.rotate(key.id)
    with pytest.raises(KeyChanged):
        _result(books.ledger.reserve(query(key.id, 1), fresh.revision))


@pytest.mark.parametrize("largest", [10**15 - 1, 2**63 - 1])
def test_counters_near_the_largest_number_stay_exact(books: Books, largest: int) -> None:
    """A 64-bit counter must neither wrap nor become a fraction."""
    key = _key(books, samples_per_minute=10**12)
    rows(books.path, "UPDATE api_keys SET quota = ?, used = ? WHERE id = ?", largest, largest - 5, key)
    held = _result(books.ledger.reserve(query(key, 5)))
    assert isinstance(held, Reservation)
    with pytest.raises(QuotaExceeded) as refused:
        _result(books.ledger.reserve(query(key, 1)))
    assert refused.value.facts["remaining"] == 0
    assert _result(books.ledger.settle(held, ANSWER)).quota.used == largest
    assert rows(books.path, "SELECT used, reserved FROM api_keys") == [(largest, 0)]
