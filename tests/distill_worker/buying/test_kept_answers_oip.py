"""Answers of the Open Inference Protocol that cannot be read, and answers that arrive compressed, are kept."""

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.buying.fetch import fetch
from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.plan import Plan
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.cache.raw_answers import kept_answers, raw_answer
from distill_worker.errors import AnswerUnread, PlanRefused
from distill_worker.teachers.oip import OipTeacher
from shared import oip
from tests.distill_worker.buying.vendor import GOOD, LYNX, MENDED, Vendor, buy, order_of, statuses
from tests.distill_worker.purchases import Samples
from tests.distill_worker.teachers.scripted_server import METADATA


@pytest.fixture
def cache(ledger_place: Path | str) -> Iterator[Cache]:
    with Cache(ledger_place) as opened:
        yield opened


LOGITS = np.arange(60, dtype=np.float32).reshape(12, 5)


def _oip(tensors: Mapping[str, NDArray[Any]], *others: dict[str, Any], request_id: str | None = None) -> bytes:
    heads = [
        {"name": name, "shape": list(values.shape), "datatype": "FP32", "data": values.ravel().tolist()}
        for name, values in tensors.items()
    ]
    head: dict[str, Any] = {"model_name": "m", "model_version": "abc123", "outputs": [*others, *heads]}
    return json.dumps(head | ({} if request_id is None else {"id": request_id})).encode()


@contextmanager
def _oip_order(vendor: Vendor, cache: Cache, **options: Any) -> Iterator[PurchaseOrder]:
    images = np.arange(12 * 12, dtype=np.uint8).reshape(12, 3, 2, 2)
    samples = {bytes([row]) * 32: image for row, image in enumerate(images)}
    with OipTeacher(vendor.sender(), model="m", **options) as teacher:
        yield PurchaseOrder(teacher, teacher.describe(), cache, samples, request_size=12)


def _plan_and_buy(order: PurchaseOrder) -> tuple[Plan, int]:
    made = plan(order)
    with order.cache.buying() as buyer:
        return made, fetch(order, made, order.samples, buyer=buyer)


def test_tensor_that_was_not_requested_is_ignored(cache: Cache) -> None:
    """Of type BYTES, of a type that nobody has, and damaged."""
    text = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["cat"]}
    strange = {"name": "strange", "shape": [1], "datatype": "FP8", "data": [1]}
    wrong = {"name": "wrong", "shape": [7], "datatype": "FP32", "data": [1]}
    vendor = Vendor(_oip({"logits": LOGITS}, text, strange, wrong))
    with _oip_order(vendor, cache) as order:
        assert _plan_and_buy(order)[1] == 12
        assert np.array_equal(cache.aligned(cache.stream(order.description.id, "logits"), list(order.samples)), LOGITS)


def test_binary_tensor_that_was_not_requested_is_skipped(cache: Cache) -> None:
    text = b"\x03\x00\x00\x00cat"
    heads = [
        {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(text)}},
        {"name": "logits", "shape": [12, 5], "datatype": "FP32", "parameters": {"binary_data_size": LOGITS.nbytes}},
    ]
    head = json.dumps({"model_name": "m", "model_version": "abc123", "outputs": heads}).encode()
    vendor = Vendor(head + text + LOGITS.tobytes(), headers={oip.HEADER_LENGTH: str(len(head))})
    with _oip_order(vendor, cache) as order:
        assert _plan_and_buy(order)[1] == 12


OIP_UNREADABLE = {
    "HTML": (b"<html>", "expected an answer in the Open Inference Protocol"),
    "absent tensor": (_oip({"scores": LOGITS}), "expected the output 'logits' in the answer, got none"),
    "wrong shape": (
        _oip({"logits": LOGITS[:, :4]}),
        r"expected finite logits of shape \[12, 5\], got float32 \[12, 4\]",
    ),
    "too few rows": (_oip({"logits": LOGITS[:11]}), r"got float32 \[11, 5\]"),
    "NaN": (
        _oip({"logits": np.where(np.isin(LOGITS, [7, 30]), np.nan, LOGITS)}),
        r"expected finite logits of shape \[12, 5\], got 2 NaN of 60 values, the first at \[1, 2\]",
    ),
    "infinite": (
        _oip({"logits": np.where(LOGITS == 7, np.inf, LOGITS)}),
        "expected FP32 values that are finite, got 1 of 60 that are infinite",
    ),
    "another request": (_oip({"logits": LOGITS}, request_id="k2"), "got that to request k2"),
}


@pytest.mark.parametrize(("body", "because"), OIP_UNREADABLE.values(), ids=OIP_UNREADABLE)
def test_unreadable_answer_of_the_open_inference_protocol_is_kept_and_paid_once(
    cache: Cache, body: bytes, because: str
) -> None:
    vendor = Vendor(body)
    with _oip_order(vendor, cache) as order, pytest.raises(AnswerUnread, match=because):
        _plan_and_buy(order)
    for _ in range(2):
        with _oip_order(vendor, cache) as order, pytest.raises(PlanRefused, match=because):
            _plan_and_buy(order)
    assert (vendor.charged, statuses(cache)) == (1, ["unread"])


def test_kept_answer_is_read_when_the_tensor_s_name_is_mended(cache: Cache) -> None:
    vendor = Vendor(_oip({"scores": LOGITS}))
    with _oip_order(vendor, cache) as order, pytest.raises(AnswerUnread):
        _plan_and_buy(order)
    METADATA["outputs"].append({"name": "scores", "datatype": "FP32", "shape": [-1, 5]})
    try:
        with _oip_order(vendor, cache, logits_name="scores") as order:
            made, bought = _plan_and_buy(order)
            assert (made.cached, bought) == (12, 0)
            stream = cache.stream(order.description.id, "logits")
            assert np.array_equal(cache.aligned(stream, list(order.samples)), LOGITS)
    finally:
        METADATA["outputs"].pop()
    assert vendor.charged == 1


def test_where_repeats_are_free_the_same_request_is_repeated_under_its_key(cache: Cache) -> None:
    """A page of a proxy in between costs nothing: the teacher sends the answer again."""
    vendor = Vendor(b"<html>Sign in</html>", _oip({"logits": LOGITS}))
    vendor.extensions = [oip.IDEMPOTENCY_EXTENSION]
    with _oip_order(vendor, cache) as order, pytest.raises(AnswerUnread):
        _plan_and_buy(order)
    with _oip_order(vendor, cache) as order:
        made, bought = _plan_and_buy(order)
    assert (made.reopened_samples, len(made.to_buy), len(made.blocked), bought) == (12, 0, 0, 12)
    assert len(set(vendor.keys)) == 1
    assert statuses(cache) == ["done"]


BROKEN = b"\x1f\x8b\x08 broken"
"""No gzip, although it begins so."""


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-unknown"])
def test_answer_that_cannot_be_decoded_is_kept_as_it_arrived(cache: Cache, samples: Samples, encoding: str) -> None:
    """It was paid, however wrong its Content-Encoding is."""
    one = dict(list(samples.items())[:1])
    vendor = Vendor(BROKEN, headers={"Content-Encoding": encoding})
    expected = rf"its Content-Encoding is {encoding}, and it cannot be decoded so.*kept and not bought again"
    with order_of(vendor, cache, one) as order, pytest.raises(AnswerUnread, match=expected):
        buy(order, one)
    with order_of(vendor, cache, one) as order, pytest.raises(PlanRefused, match="Content-Encoding"):
        buy(order, one)
    with order_of(vendor, cache, one) as order, cache.reading() as connection:
        (kept,) = kept_answers(connection, order.description.id, order.description.source)
        raw = raw_answer(connection, kept)
    assert (raw.content, raw.headers["content-encoding"]) == (BROKEN, encoding)
    assert (vendor.charged, statuses(cache)) == (1, ["unread"])
    with _oip_order(vendor, cache) as order, pytest.raises(AnswerUnread, match="Content-Encoding"):
        _plan_and_buy(order)


def test_plain_answer_that_a_proxy_calls_compressed_is_read(cache: Cache, samples: Samples) -> None:
    vendor = Vendor(GOOD, headers={"Content-Encoding": "gzip"})
    with order_of(vendor, cache, samples) as order:
        assert buy(order, samples) == len(samples)


def test_compressed_answer_is_read_and_kept_decoded(cache: Cache, samples: Samples) -> None:
    one = dict(list(samples.items())[:1])
    vendor = Vendor(gzip.compress(json.dumps(LYNX).encode()), headers={"Content-Encoding": "gzip"})
    with order_of(vendor, cache, one) as order, pytest.raises(AnswerUnread, match="'lynx'"):
        buy(order, one)
    with order_of(vendor, cache, one, labels=MENDED) as order:
        assert plan(order).cached == 1
