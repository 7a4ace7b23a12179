"""What was paid for is kept whatever the teacher calls itself, and whatever the database goes through meanwhile."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event, make_url

from distill_worker.cache import Cache, Claims, Purchase
from distill_worker.errors import CacheError
from tests.distill_worker.purchases import intend
from tests.postgresql import PostgresServer

KEYS = [bytes([index]) * 32 for index in range(4)]
ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.fixture
def cache(ledger_place: Path | str) -> Iterator[Cache]:
    with Cache(ledger_place, sleep=_never) as opened:
        yield opened


def _never(_seconds: float) -> None:
    raise AssertionError("there was nothing to wait for")


def _intend(cache: Cache, keys: list[bytes] = KEYS) -> Purchase:
    return intend(cache, cache.stream("t", "logits"), keys, payer="alice")


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "a\ud800b", "\0"])
def test_answer_is_kept_whatever_its_names(cache: Cache, name: str) -> None:
    cache.complete(_intend(cache), {"logits": ROWS}, teacher_id=name, query_id=name)
    (record,) = cache.purchases()
    (owner,) = set(cache.teachers()) - {"t"}
    assert record.model_version == owner
    assert record.query_id == name.replace("\0", "").replace("\ud800", "")[:200]
    assert cache.aligned(cache.stream(owner, "logits"), KEYS).tolist() == ROWS.tolist()


def test_no_two_names_are_kept_as_one(cache: Cache) -> None:
    names = ["n" * 300, "n" * 301, "n" * 200, "n", "n\0", "n\ud800", "n\ud801"]
    for name in names:
        cache.complete(_intend(cache, KEYS[:1]), {"logits": ROWS[:1]}, teacher_id=name)
    assert len(set(cache.teachers()) - {"t"}) == len(names)


def test_teacher_that_cannot_be_named_is_refused_before_anything_is_paid(cache: Cache) -> None:
    with pytest.raises(CacheError):
        cache.stream("a\ud800", "logits")


def test_purchase_that_another_took_over_is_not_voided_by_who_began_it(ledger_place: Path | str, cache: Cache) -> None:
    """A worker whose lease broke has a refusal; the other may have been charged by then."""
    began = _claimed(cache)
    with Cache(ledger_place) as other:
        taken = _claimed(other)
        assert taken.id == began.id
        cache.void(began)
        assert [record.status for record in cache.purchases()] == ["open"]
        other.void(taken)
        assert [record.status for record in cache.purchases()] == ["void"]


def _claimed(cache: Cache) -> Purchase:
    """The one purchase of two samples, taken by a process that is gone afterwards."""
    stream_id = cache.stream("t", "logits")
    claims = Claims("t", stream_id, [("logits", stream_id)], payer="alice", wanted=KEYS[:2], request_size=2)
    with cache.buying() as buyer:
        (purchase,) = cache.claim(claims, buyer, 1)
    return purchase


def test_only_an_open_purchase_is_voided(cache: Cache) -> None:
    purchase = _intend(cache)
    cache.complete(purchase, {"logits": ROWS})
    cache.void(purchase)
    assert [record.status for record in cache.purchases()] == ["done"]


def test_answer_of_a_purchase_that_was_given_up_is_kept(cache: Cache) -> None:
    purchase = _intend(cache)
    cache.void(purchase)
    cache.complete(purchase, {"logits": ROWS})
    assert [record.status for record in cache.purchases()] == ["done"]
    assert cache.missing(cache.stream("t", "logits"), KEYS) == []


def test_only_what_nobody_alive_sees_to_can_be_given_up(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    living, *dead = [_intend(cache, [key]) for key in KEYS]
    intend(cache, cache.stream("u", "logits"), KEYS[:1], payer="alice")
    with cache.writing() as connection:
        connection.exec_driver_sql(f"UPDATE purchases SET buyer_id = 'alive' WHERE id = {living.id}")
    monkeypatch.setattr(cache, "is_alive", lambda buyer_id: buyer_id == "alive")
    assert cache.abandonable("t") == dead


def test_paid_answer_waits_for_a_file_that_another_holds(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    slept: list[float] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as other:

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                other.execute("ROLLBACK")

        with Cache(path, sleep=sleep) as cache:
            purchase = _intend(cache)
            _hurry(cache)
            other.execute("BEGIN IMMEDIATE")
            cache.complete(purchase, {"logits": ROWS})
            assert cache.missing(cache.stream("t", "logits"), KEYS) == []
            assert slept == sorted(slept)
            assert len(slept) == 3


def test_paid_answer_waits_two_minutes_and_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    slept: list[float] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as other, Cache(path, sleep=slept.append) as cache:
        purchase = _intend(cache)
        _hurry(cache)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CacheError, match="locked"):
            cache.complete(purchase, {"logits": ROWS})
        assert 60 < sum(slept) < 150
        other.execute("ROLLBACK")
        assert cache.open_purchases("t") == [purchase]


def _hurry(cache: Cache) -> None:
    """Wait for no lock, on the one connection of the pool and on those that follow it: a failed BEGIN drops its own."""
    without_waiting = "PRAGMA busy_timeout = 0"
    with cache.reading() as connection:
        connection.exec_driver_sql(without_waiting)
        event.listen(connection.engine, "connect", lambda later, _entry: later.execute(without_waiting))


@pytest.mark.parametrize("obstacle", ["PRAGMA query_only = ON", "PRAGMA max_page_count = 1"])
def test_full_or_read_only_file_is_told_at_once(tmp_path: Path, obstacle: str) -> None:
    with Cache(tmp_path / "cache.sqlite", sleep=_never) as cache:
        purchase = _intend(cache)
        with cache.reading() as connection:
            connection.exec_driver_sql(obstacle)
        with pytest.raises(CacheError, match=r"full|readonly"):
            cache.complete(purchase, {"logits": np.zeros((4, 5000), np.float32)})


def _restart(server: PostgresServer, _name: str) -> Callable[[], None]:
    server.stop()
    return server.start


def _cut_off(server: PostgresServer, name: str) -> Callable[[], None]:
    server.say(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'")
    return lambda: None


@pytest.mark.parametrize("disturb", [_restart, _cut_off])
def test_paid_answer_waits_for_its_server(
    postgres_server: PostgresServer, disturb: Callable[[PostgresServer, str], Callable[[], None]]
) -> None:
    slept: list[float] = []
    with postgres_server.database() as url:
        calm = [_never]

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            calm.pop()(seconds)

        with Cache(url, sleep=sleep) as cache:
            purchase = _intend(cache)
            end = disturb(postgres_server, str(make_url(url).database))
            calm[:] = [lambda _seconds: None, lambda _seconds: end()]
            cache.complete(purchase, {"logits": ROWS})
            assert slept
            assert cache.missing(cache.stream("t", "logits"), KEYS) == []
            with cache.reading() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM blocks").scalar() == 1
