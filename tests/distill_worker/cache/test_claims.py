"""Several processes want the same samples: each sample is in one purchase, and a dead process's is taken over."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from sqlalchemy import make_url

from distill_worker.cache import Cache, Claims, Purchase
from distill_worker.errors import PlanRefused
from shared.sample_key import sample_keys
from tests.distill_worker.fake_teacher import FakeTeacher
from tests.distill_worker.purchases import carry_out, intend
from tests.postgresql import PostgresServer

KEYS = [bytes([index]) * 32 for index in range(8)]


def _claims(
    cache: Cache, wanted: list[bytes], *, payer: str = "alice", size: int = 2, free: bool = True, **names: Any
) -> Claims:
    stream_id = cache.stream("t", "logits")
    return Claims(
        "t",
        stream_id,
        [("logits", stream_id)],
        payer=payer,
        wanted=wanted,
        request_size=size,
        repeats_are_free=free,
        **names,
    )


def _complete(cache: Cache, purchase: Purchase) -> None:
    cache.complete(purchase, {"logits": np.zeros((len(purchase.sample_keys), 3), np.float32)})


def _keys(purchases: list[Purchase]) -> list[bytes]:
    return [key for purchase in purchases for key in purchase.sample_keys]


def test_two_that_live_share_what_both_want(ledger_place: Path | str) -> None:
    """What one has begun the other leaves to it; what was bought meanwhile, too."""
    with Cache(ledger_place) as one, Cache(ledger_place) as two, one.buying() as first, two.buying() as second:
        mine, theirs = _claims(one, KEYS[:6]), _claims(two, KEYS[2:])
        a = one.claim(mine, first, 2)
        b = two.claim(theirs, second, 9)
        assert (_keys(a), _keys(b)) == (KEYS[:4], KEYS[4:])
        assert theirs.left == 2, "the other's purchase may still fail"
        assert one.claim(mine, first, 9) == []
        _complete(one, a[1])
        for purchase in b:
            _complete(two, purchase)
        assert two.claim(theirs, second, 9) == []
        assert theirs.left == 0
        _complete(one, a[0])
        assert one.claim(mine, first, 9) == []
        assert mine.left == 0


def test_purchase_that_its_buyer_voids_is_begun_by_whoever_waits(ledger_place: Path | str) -> None:
    with Cache(ledger_place) as one, Cache(ledger_place) as two, one.buying() as first, two.buying() as second:
        (refused,) = one.claim(_claims(one, KEYS[:2]), first, 1)
        waiting = _claims(two, KEYS[:2])
        assert two.claim(waiting, second, 1) == []
        one.void(refused)
        (begun,) = two.claim(waiting, second, 1)
        assert begun.sample_keys == refused.sample_keys
        assert begun.idempotency_key != refused.idempotency_key


def test_given_up_purchase_is_void_once_all_its_samples_are_bought_anew(ledger_place: Path | str) -> None:
    """Until then it is open, and no other worker repeats it."""
    with Cache(ledger_place) as one, Cache(ledger_place) as two, one.buying() as first:
        lost = intend(one, one.stream("t", "logits"), KEYS[:4], payer="alice")
        claims = _claims(one, KEYS, given_up=[lost.id])
        assert _keys(one.claim(claims, first, 1)) == KEYS[:2]
        assert lost.id in {purchase.id for purchase in two.open_purchases("t")}
        pending = two.pending(_claims(two, KEYS[:4]))
        assert (pending.orphaned, pending.elsewhere) == ((), set(KEYS[:4]))
        assert _keys(one.claim(claims, first, 1)) == KEYS[2:4]
        assert [record.status for record in one.purchases()] == ["void", "open", "open"]


def test_given_up_purchase_that_another_took_over_is_left_to_it(ledger_place: Path | str) -> None:
    with Cache(ledger_place) as one, Cache(ledger_place) as two, one.buying() as first, two.buying() as second:
        lost = intend(one, one.stream("t", "logits"), KEYS[:2], payer="alice")
        assert [purchase.id for purchase in two.claim(_claims(two, KEYS[:2]), second, 1)] == [lost.id]
        claims = _claims(one, KEYS[:4], given_up=[lost.id])
        assert _keys(one.claim(claims, first, 9)) == KEYS[2:4]
        assert claims.left == 2


_BUYER = """
import sys, pathlib
from distill_worker.cache import Cache, Claims
place = sys.argv[1] if "://" in sys.argv[1] else pathlib.Path(sys.argv[1])
with Cache(place) as cache, cache.buying() as buyer:
    stream_id = cache.stream("t", "logits")
    claims = Claims("t", stream_id, [("logits", stream_id)], payer="alice", wanted=[bytes([i]) * 32 for i in range(4)],
                    request_size=2)
    print(*[purchase.idempotency_key for purchase in cache.claim(claims, buyer, 2)], flush=True)
    sys.stdin.readline()
"""


@contextmanager
def _another_process(place: Path | str) -> Iterator[tuple["subprocess.Popen[str]", list[str]]]:
    """A real process that has begun two purchases of the first four samples."""
    command = [sys.executable, "-c", _BUYER, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()
        finally:
            process.kill()


def test_killed_buyers_purchases_are_repeated_under_their_keys_at_once(ledger_place: Path | str) -> None:
    with Cache(ledger_place) as cache, cache.buying() as buyer, _another_process(ledger_place) as (process, keys):
        claims = _claims(cache, KEYS[:5])
        (own,) = cache.claim(claims, buyer, 9)
        assert own.sample_keys == (KEYS[4],)
        assert cache.pending(claims).elsewhere == set(KEYS[:4])
        process.send_signal(signal.SIGKILL)
        process.wait()
        adopted = _wait_for(cache, claims, buyer.id)
        assert [purchase.idempotency_key for purchase in adopted] == keys
        assert all(purchase.begun_earlier for purchase in adopted)


def _wait_for(cache: Cache, claims: Claims, buyer_id: str) -> list[Purchase]:
    """PostgreSQL notices the end of a session a moment later."""
    taken: list[Purchase] = []
    with cache.buying() as buyer:
        assert buyer.id != buyer_id
        for _ in range(500):
            taken += cache.claim(claims, buyer, 9)
            if len(taken) == 2:
                break
    return taken


def test_dead_buyers_purchase_that_may_have_been_charged_again_is_left_alone(ledger_place: Path | str) -> None:
    """Where a repeated request is charged again, nobody repeats it unasked, and nobody buys its samples."""
    with Cache(ledger_place) as cache:
        with cache.buying() as dead:
            cache.claim(_claims(cache, KEYS[:2]), dead, 1)
        with cache.buying() as buyer:
            claims = _claims(cache, KEYS[:3], free=False)
            assert _keys(cache.claim(claims, buyer, 9)) == KEYS[2:3]
            assert claims.uncertain == set(KEYS[:2])
            assert claims.left == 0


def test_dead_buyers_purchase_under_another_account_is_refused(ledger_place: Path | str) -> None:
    with Cache(ledger_place) as cache:
        with cache.buying() as dead:
            cache.claim(_claims(cache, KEYS[:2]), dead, 1)
        with cache.buying() as buyer, pytest.raises(PlanRefused, match=r"another API key.*--abandon other-keys"):
            cache.claim(_claims(cache, KEYS[1:3], payer="bob"), buyer, 1)


def test_purchase_under_a_former_name_of_the_account_is_repeated(ledger_place: Path | str) -> None:
    with Cache(ledger_place) as cache:
        with cache.buying() as dead:
            (lost,) = cache.claim(_claims(cache, KEYS[:2]), dead, 1)
        with cache.buying() as buyer:
            (first, second) = cache.claim(_claims(cache, KEYS[:4], payer="key-id", former_payers=["alice"]), buyer, 2)
        assert (first.idempotency_key, first.begun_earlier) == (lost.idempotency_key, True)
        assert (second.payer, second.begun_earlier) == ("key-id", False)


def test_two_that_want_overlapping_samples_pay_for_the_union(ledger_place: Path | str) -> None:
    """Both at once, through `fetch`: what one has begun, the other waits for."""
    _pay_for_the_union(ledger_place)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_server_whose_transactions_see_less_by_default_changes_nothing(
    postgres_server: PostgresServer, level: str
) -> None:
    with postgres_server.database() as url:
        name = make_url(url).database
        postgres_server.say(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
        _pay_for_the_union(url, 60)


def _pay_for_the_union(place: Path | str, samples_in_all: int = 300) -> None:
    images = np.random.default_rng(5).integers(0, 256, (samples_in_all, 1, 2, 2), dtype=np.uint8)
    samples = dict(zip(sample_keys(images), images, strict=True))
    teacher, bought = FakeTeacher(), list[int]()

    def buy(part: list[bytes]) -> None:
        with Cache(place) as cache:
            bought.append(carry_out(teacher, cache, {key: samples[key] for key in part}, concurrency=3))

    keys, third = list(samples), samples_in_all // 3
    parts = keys[: 2 * third], keys[third:], keys[third // 2 : 5 * third // 2][::-1]
    buyers = [Thread(target=buy, args=(part,)) for part in parts]
    for thread in buyers:
        thread.start()
    for thread in buyers:
        thread.join()
    assert sum(bought) == teacher.paid == len(samples)
    with Cache(place) as cache:
        assert cache.missing(cache.stream("t", "logits"), keys) == []
