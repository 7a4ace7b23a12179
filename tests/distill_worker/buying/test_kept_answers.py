"""A paid answer that cannot be read is kept as it arrived, not bought again, and read when the settings are mended."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from distill_worker.buying.fetch import fetch
from distill_worker.buying.kept_answers import most_common_reasons
from distill_worker.buying.planning import plan
from distill_worker.buying.reconciliation.reconcile import compare, compare_counter
from distill_worker.cache import Cache
from distill_worker.cache.raw_answers import kept_answers, raw_answer
from distill_worker.cache.summary import summarise
from distill_worker.cache.verify import verify
from distill_worker.errors import AnswerUnread, PlanRefused, TeacherError
from distill_worker.teachers.base import LoggedQuery
from tests.distill_worker.buying.vendor import GOOD, LABELS, LYNX, MENDED, Vendor, buy, order_of, statuses
from tests.distill_worker.purchases import Samples, give_up


@pytest.fixture
def cache(ledger_place: Path | str) -> Iterator[Cache]:
    with Cache(ledger_place) as opened:
        yield opened


def test_unknown_label_is_kept_costs_one_call_and_is_read_when_the_table_is_mended(
    cache: Cache, samples: Samples
) -> None:
    vendor = Vendor(LYNX)
    with (
        order_of(vendor, cache, samples) as order,
        pytest.raises(AnswerUnread, match=r"\[teacher\.labels\], got 'lynx'"),
    ):
        buy(order, samples)
    assert (vendor.charged, statuses(cache)) == (1, ["unread"])
    for wanted in (samples, dict(list(samples.items())[:1])):  # nor by another n
        with order_of(vendor, cache, wanted) as order:
            made = plan(order)
            assert (len(made.blocked), len(made.to_buy)) == (1, len(wanted) - 1)
            assert "'lynx'" in next(iter(made.unread))
            with pytest.raises(PlanRefused, match=r"1 sample with paid answers that cannot be read.*'lynx'"):
                buy(order, wanted)
    assert vendor.charged == 1
    with order_of(vendor, cache, samples, labels=MENDED) as order:
        made = plan(order)
        assert (made.cached, len(made.to_buy), made.unread) == (1, len(samples) - 1, {})
        assert vendor.charged == 1, "the kept answer was read without a request"
        assert buy(order, samples) == len(samples) - 1
    assert vendor.charged == len(samples)
    assert statuses(cache) == ["done"] * len(samples)


def test_single_unreadable_answer_does_not_block_the_others(cache: Cache, samples: Samples) -> None:
    vendor = Vendor(GOOD, [], GOOD)
    with (
        order_of(vendor, cache, samples) as order,
        pytest.raises(AnswerUnread, match=r"expected 2 labels or more \(teacher.top_k\), got 0"),
    ):
        buy(order, samples)
    with (
        order_of(vendor, cache, samples) as order,
        pytest.raises(PlanRefused, match="1 sample, whose answers were paid"),
    ):
        buy(order, samples)
    assert vendor.charged == len(samples)
    with order_of(vendor, cache, samples) as order, pytest.raises(PlanRefused, match="train without them"):
        buy(order, samples)
    assert vendor.charged == len(samples)


def test_another_worker_leaves_the_sample_alone(cache: Cache, samples: Samples, ledger_place: Path | str) -> None:
    """It planned before the answer came."""
    vendor, two = Vendor(LYNX), dict(list(samples.items())[:2])
    with Cache(ledger_place) as theirs, order_of(Vendor(GOOD), theirs, two) as other:
        made = plan(other)
        with order_of(vendor, cache, two) as order, pytest.raises(AnswerUnread):
            buy(order, two)
        with theirs.buying() as buyer, pytest.raises(PlanRefused, match="1 sample, whose answers were paid"):
            fetch(other, made, two, buyer=buyer)
    assert sorted(statuses(cache)) == ["done", "unread"]


def test_only_abandoning_all_gives_the_answer_up(cache: Cache, samples: Samples) -> None:
    vendor, one = Vendor(LYNX, GOOD), dict(list(samples.items())[:1])
    with order_of(vendor, cache, one) as order, pytest.raises(AnswerUnread):
        buy(order, one)
    for abandoned, expected in (("other-keys", ["unread"]), ("all", ["void"])):
        with order_of(vendor, cache, one) as order:
            object.__setattr__(order, "abandon", abandoned)
            give_up(order)
        assert statuses(cache) == expected
    with order_of(vendor, cache, one) as order:
        assert buy(order, one) == 1
    assert vendor.charged == 2


@pytest.mark.parametrize("change", [{"labels": MENDED}, {"top_k": 1}, {}], ids=["labels", "top_k", "nothing"])
def test_request_whose_answer_was_lost_is_not_bought_again_under_other_settings(
    cache: Cache, samples: Samples, change: dict[str, Any]
) -> None:
    """It may have been charged, whatever its answer would mean; only giving it up buys the sample again."""
    vendor, one = Vendor(GOOD), dict(list(samples.items())[:1])
    with order_of(vendor, cache, one) as order, cache.buying() as buyer:
        cache.claim(order.claims(), buyer, 1)
    with order_of(vendor, cache, one, **change) as order:
        assert plan(order).uncertain == 1
        with pytest.raises(TeacherError, match=r"not sent again: 1 sample, which may have been charged"):
            buy(order, one)
        assert vendor.charged == 0
        object.__setattr__(order, "abandon", "all")
        give_up(order)
    with order_of(vendor, cache, one, **change) as order:
        assert buy(order, one) == 1


def test_few_reasons_are_shown_however_many_there_are() -> None:
    unread = {f"reason {number}": number for number in range(1, 7)}
    assert most_common_reasons(unread) == [("reason 6", 6), ("reason 5", 5), ("reason 4", 4), ("other reasons", 6)]
    assert most_common_reasons({"one": 1}) == [("one", 1)]


UNREADABLE = {
    "HTML": b"<html><body>Sign in</body></html>",
    "empty": b"",
    "deep": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe\xfd",
    "NaN": b'[{"label": "cat", "score": NaN}, {"label": "dog", "score": 0.5}]',
    "long number": b'[{"label": "cat", "score": ' + b"9" * 5000 + b"}]",
    "another shape": {"predictions": GOOD},
    "too few": GOOD[:1],
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_whatever_was_answered_is_kept_byte_for_byte(cache: Cache, samples: Samples, body: Any) -> None:
    vendor = Vendor(body, headers={"X-Request-Id": "r-1", "Content-Type": "text/html", "Set-Cookie": "secret=1"})
    with order_of(vendor, cache, samples) as order:
        with pytest.raises(AnswerUnread, match=r"it is kept and not bought again.*0 of 12 samples; nothing more"):
            buy(order, samples)
        with cache.reading() as connection:
            (kept,) = kept_answers(connection, order.description.id, order.description.source)
            raw = raw_answer(connection, kept)
    assert raw.content == (body if isinstance(body, bytes) else json.dumps(body).encode())
    assert {name: raw.headers[name] for name in ("x-request-id", "content-type")} == {
        "x-request-id": "r-1",
        "content-type": "text/html",
    }
    assert "set-cookie" not in raw.headers
    assert vendor.charged == 1


def test_all_answers_under_other_settings_cost_nothing(cache: Cache, samples: Samples) -> None:
    """Other labels, another top_k, other digits: other teachers and kinds, from the same answers."""
    vendor = Vendor(GOOD)
    with order_of(vendor, cache, samples) as order:
        assert buy(order, samples) == len(samples)
    changes: tuple[dict[str, Any], ...] = (
        {"labels": {"cat": 1, "dog": 0}},
        {"top_k": 1},
        {"score_digits": 2},
        {"labels": MENDED, "top_k": 1, "score_digits": 3},
    )
    for change in changes:
        for _ in range(2):
            with order_of(vendor, cache, samples, **change) as order:
                made = plan(order)
                assert (made.cached, len(made.to_buy)) == (len(samples), 0), change
    with order_of(vendor, cache, samples, labels={"cat": 1, "dog": 0}) as order:
        stream = cache.stream(order.description.id, "top_k:2")
        assert cache.aligned(stream, list(samples)).tolist() == [[[1, 0.75], [0, 0.25]]] * len(samples)
    assert vendor.charged == len(samples)
    assert summarise(cache).samples_paid == len(samples)
    assert verify(cache).damages == []


def test_answers_that_new_settings_cannot_read_are_not_bought_again_either(cache: Cache, samples: Samples) -> None:
    vendor = Vendor(GOOD)
    with order_of(vendor, cache, samples) as order:
        buy(order, samples)
    with (
        order_of(vendor, cache, samples, labels={"cat": 0, "hound": 1}) as order,
        pytest.raises(PlanRefused, match=r"12 samples with paid answers.*'dog'.*12 samples"),
    ):
        buy(order, samples)
    assert vendor.charged == len(samples)


@pytest.mark.parametrize("bound", [True, False])
def test_answers_that_new_settings_cannot_read_are_not_bought_with_more_samples(
    cache: Cache, samples: Samples, bound: bool
) -> None:
    """Only samples without a kept answer are bought, although some of the kept answers can be read."""
    vendor, six = Vendor(LYNX, GOOD, LYNX, GOOD), dict(list(samples.items())[:6])
    with order_of(vendor, cache, six, labels=MENDED) as order:
        buy(order, six)
    with order_of(vendor, cache, samples) as order:
        made = plan(order)
        assert (made.cached, len(made.blocked), made.most_calls) == (4, 2, 6)
        with cache.buying() as buyer, pytest.raises(PlanRefused, match=r"cached: 6 samples; not bought: 2 samples"):
            fetch(order, made, samples, buyer=buyer, bound=bound)
    assert vendor.charged == len(samples)
    keys = [key for record in cache.purchases() for key in record.sample_keys]
    assert len(keys) == len(set(keys)), "no sample is in two purchases"


def test_answer_of_another_model_or_version_is_not_read_as_this_one_s(cache: Cache, samples: Samples) -> None:
    vendor = Vendor(GOOD)
    with order_of(vendor, cache, samples) as order:
        buy(order, samples)
    with order_of(vendor, cache, samples, model_version="june") as order:
        assert len(plan(order).to_buy) == len(samples)


def test_unread_answer_of_a_stated_version_is_read_once_that_version_is_configured(
    cache: Cache, samples: Samples
) -> None:
    """Also with another table: the answer says which version it is of."""
    vendor, one = Vendor(LYNX, headers={"X-Model-Version": "july"}), dict(list(samples.items())[:1])
    with order_of(vendor, cache, one) as order, pytest.raises(AnswerUnread):
        buy(order, one)
    with order_of(vendor, cache, one, labels=MENDED, model_version="july") as order:
        assert plan(order).cached == 1
    assert vendor.charged == 1


def test_answer_that_another_version_gave_is_not_bought_again_under_another_table(
    cache: Cache, samples: Samples
) -> None:
    vendor, one = Vendor(GOOD, headers={"X-Model-Version": "july"}), dict(list(samples.items())[:1])
    with order_of(vendor, cache, one) as order, pytest.raises(Exception, match="replaced during the purchase"):
        buy(order, one)
    for labels in (LABELS, MENDED):
        with (
            order_of(vendor, cache, one, labels=labels) as order,
            pytest.raises(PlanRefused, match=r"got answers of .*july.*teacher\.model_version"),
        ):
            buy(order, one)
    assert vendor.charged == 1


def test_summary_verification_and_reconciliation_count_it_as_paid(cache: Cache, samples: Samples) -> None:
    vendor, one = Vendor(LYNX), dict(list(samples.items())[:1])
    with order_of(vendor, cache, one) as order, pytest.raises(AnswerUnread):
        buy(order, one)
    summary = summarise(cache)
    assert (summary.samples_paid, summary.samples_unread, summary.purchases) == (1, 1, {"unread": 1})
    assert verify(cache).damages == []
    (record,) = cache.purchases()
    query = LoggedQuery(record.idempotency_key, "q", 1, ("top_k",), "settled", "1", 0.0, 1.0)
    for queries, finding in (([query], "unread"), ([], "unread, free")):
        result = compare([record], queries)
        assert [row.finding for row in result.rows] == [finding]
        assert result.differences == ()
    assert [row.finding for row in compare_counter([record], 1).rows] == ["unread"]


def test_damaged_answer_is_named_and_not_bought_again(tmp_path: Path, samples: Samples) -> None:
    vendor, one, place = Vendor(LYNX), dict(list(samples.items())[:1]), tmp_path / "cache.sqlite"
    with Cache(place) as cache:
        with order_of(vendor, cache, one) as order, pytest.raises(AnswerUnread):
            buy(order, one)
        with closing(sqlite3.connect(place)) as file, file:
            file.execute("UPDATE raw_answers SET content = substr(content, 1, 9)")
        (damage,) = verify(cache).damages
        assert damage.reason.startswith("raw answer: ")
        with (
            order_of(vendor, cache, one, labels=MENDED) as order,
            pytest.raises(PlanRefused, match="the kept answer is damaged"),
        ):
            buy(order, one)
    assert vendor.charged == 1
