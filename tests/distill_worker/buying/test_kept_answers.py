"""A paid answer that cannot be read is kept as it arrived, not bought again, and read when the settings are mended."""

import gzip
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from distill_worker.buying.fetch import fetch
from distill_worker.buying.kept_answers import most_common_reasons
from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.plan import Plan
from distill_worker.buying.planning import plan
from distill_worker.buying.reconciliation.reconcile import compare, compare_counter
from distill_worker.cache import Cache
from distill_worker.cache.raw_answers import kept_answers, raw_answer
from distill_worker.cache.summary import summarise
from distill_worker.cache.verify import verify
from distill_worker.data.pictures.reading import Picture
from distill_worker.errors import AnswerUnread, PlanRefused, TeacherError
from distill_worker.teachers.base import LoggedQuery
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.oip import OipTeacher
from shared import oip
from shared.sample_key import sample_key
from tests.distill_worker.purchases import Samples, give_up
from tests.distill_worker.teachers.scripted_server import METADATA, URL
from tests.distill_worker.teachers.vendors.clients import labelled_scores

LABELS = {"cat": 0, "dog": 1}
MENDED = LABELS | {"lynx": 2}


class Vendor:
    """Answers each POST with the next of its bodies, the last one for ever, and charges for it."""

    def __init__(self, *bodies: Any, headers: Mapping[str, str] | None = None) -> None:
        self.bodies = list(bodies)
        self.headers = dict(headers or {})
        self.extensions: list[str] = []
        self.keys: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The transport's handler."""
        if request.method == "GET":
            known = {"/v2": {"name": "v", "extensions": self.extensions}, "/v2/models/m": METADATA}
            found = known.get(request.url.path)
            return httpx.Response(404 if found is None else 200, json=found or {})
        self.keys.append(request.headers["Idempotency-Key"])
        body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.Response(200, stream=httpx.ByteStream(content), headers=self.headers)

    @property
    def charged(self) -> int:
        """Requests that were answered."""
        return len(self.keys)

    def sender(self) -> Sender:
        """A client without a protocol."""
        return Sender(
            URL,
            api_key="secret",
            timeout_seconds=5,
            give_up_after_seconds=0,
            transport=httpx.MockTransport(self),
        )


def _scores(*pairs: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in pairs]


GOOD = _scores(("cat", 0.75), ("dog", 0.25))
LYNX = _scores(("cat", 0.75), ("lynx", 0.25))


@contextmanager
def _order(
    vendor: Vendor, cache: Cache, samples: Samples, *, labels: Mapping[str, int] = LABELS, **options: Any
) -> Iterator[PurchaseOrder]:
    given: dict[str, Any] = {"top_k": 2, "num_classes": 3, **options}
    with labelled_scores(vendor.sender(), url=URL, model="pets", labels=labels, **given) as teacher:
        description = teacher.describe()
        yield PurchaseOrder(teacher, description, cache, samples, kinds=tuple(description.outputs), concurrency=3)


def _buy(order: PurchaseOrder, samples: Samples) -> int:
    made = plan(order)
    with order.cache.buying() as buyer:
        return fetch(order, made, samples, buyer=buyer)


def _statuses(cache: Cache) -> list[str]:
    return [record.status for record in cache.purchases()]


@pytest.fixture
def cache(ledger_place: Path | str) -> Iterator[Cache]:
    with Cache(ledger_place) as opened:
        yield opened


def test_unknown_label_is_kept_costs_one_call_and_is_read_when_the_table_is_mended(
    cache: Cache, samples: Samples
) -> None:
    vendor = Vendor(LYNX)
    with _order(vendor, cache, samples) as order, pytest.raises(AnswerUnread, match=r"\[teacher\.labels\], got 'lynx'"):
        _buy(order, samples)
    assert (vendor.charged, _statuses(cache)) == (1, ["unread"])
    for wanted in (samples, dict(list(samples.items())[:1])):  # nor by another n
        with _order(vendor, cache, wanted) as order:
            made = plan(order)
            assert (len(made.blocked), len(made.to_buy)) == (1, len(wanted) - 1)
            assert "'lynx'" in next(iter(made.unread))
            with pytest.raises(PlanRefused, match=r"1 sample with paid answers that cannot be read.*'lynx'"):
                _buy(order, wanted)
    assert vendor.charged == 1
    with _order(vendor, cache, samples, labels=MENDED) as order:
        made = plan(order)
        assert (made.cached, len(made.to_buy), made.unread) == (1, len(samples) - 1, {})
        assert vendor.charged == 1, "the kept answer was read without a request"
        assert _buy(order, samples) == len(samples) - 1
    assert vendor.charged == len(samples)
    assert _statuses(cache) == ["done"] * len(samples)


def test_single_unreadable_answer_does_not_block_the_others(cache: Cache, samples: Samples) -> None:
    vendor = Vendor(GOOD, [], GOOD)
    with (
        _order(vendor, cache, samples) as order,
        pytest.raises(AnswerUnread, match=r"expected 2 labels or more \(teacher.top_k\), got 0"),
    ):
        _buy(order, samples)
    with _order(vendor, cache, samples) as order, pytest.raises(PlanRefused, match="1 sample, whose answers were paid"):
        _buy(order, samples)
    assert vendor.charged == len(samples)
    with _order(vendor, cache, samples) as order, pytest.raises(PlanRefused, match="train without them"):
        _buy(order, samples)
    assert vendor.charged == len(samples)


def test_another_worker_leaves_the_sample_alone(cache: Cache, samples: Samples, ledger_place: Path | str) -> None:
    """It planned before the answer came."""
    vendor, two = Vendor(LYNX), dict(list(samples.items())[:2])
    with Cache(ledger_place) as theirs, _order(Vendor(GOOD), theirs, two) as other:
        made = plan(other)
        with _order(vendor, cache, two) as order, pytest.raises(AnswerUnread):
            _buy(order, two)
        with theirs.buying() as buyer, pytest.raises(PlanRefused, match="1 sample, whose answers were paid"):
            fetch(other, made, two, buyer=buyer)
    assert sorted(_statuses(cache)) == ["done", "unread"]


def test_only_abandoning_all_gives_the_answer_up(cache: Cache, samples: Samples) -> None:
    vendor, one = Vendor(LYNX, GOOD), dict(list(samples.items())[:1])
    with _order(vendor, cache, one) as order, pytest.raises(AnswerUnread):
        _buy(order, one)
    for abandoned, statuses in (("other-keys", ["unread"]), ("all", ["void"])):
        with _order(vendor, cache, one) as order:
            object.__setattr__(order, "abandon", abandoned)
            give_up(order)
        assert _statuses(cache) == statuses
    with _order(vendor, cache, one) as order:
        assert _buy(order, one) == 1
    assert vendor.charged == 2


@pytest.mark.parametrize("change", [{"labels": MENDED}, {"top_k": 1}, {}], ids=["labels", "top_k", "nothing"])
def test_request_whose_answer_was_lost_is_not_bought_again_under_other_settings(
    cache: Cache, samples: Samples, change: dict[str, Any]
) -> None:
    """It may have been charged, whatever its answer would mean; only giving it up buys the sample again."""
    vendor, one = Vendor(GOOD), dict(list(samples.items())[:1])
    with _order(vendor, cache, one) as order, cache.buying() as buyer:
        cache.claim(order.claims(), buyer, 1)
    with _order(vendor, cache, one, **change) as order:
        assert plan(order).uncertain == 1
        with pytest.raises(TeacherError, match=r"not sent again: 1 sample, which may have been charged"):
            _buy(order, one)
        assert vendor.charged == 0
        object.__setattr__(order, "abandon", "all")
        give_up(order)
    with _order(vendor, cache, one, **change) as order:
        assert _buy(order, one) == 1


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
    with _order(vendor, cache, samples) as order:
        with pytest.raises(AnswerUnread, match=r"it is kept and not bought again.*0 of 12 samples; nothing more"):
            _buy(order, samples)
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
    with _order(vendor, cache, samples) as order:
        assert _buy(order, samples) == len(samples)
    changes: tuple[dict[str, Any], ...] = (
        {"labels": {"cat": 1, "dog": 0}},
        {"top_k": 1},
        {"score_digits": 2},
        {"labels": MENDED, "top_k": 1, "score_digits": 3},
    )
    for change in changes:
        for _ in range(2):
            with _order(vendor, cache, samples, **change) as order:
                made = plan(order)
                assert (made.cached, len(made.to_buy)) == (len(samples), 0), change
    with _order(vendor, cache, samples, labels={"cat": 1, "dog": 0}) as order:
        stream = cache.stream(order.description.id, "top_k:2")
        assert cache.aligned(stream, list(samples)).tolist() == [[[1, 0.75], [0, 0.25]]] * len(samples)
    assert vendor.charged == len(samples)
    assert summarise(cache).samples_paid == len(samples)
    assert verify(cache).damages == []


def test_answers_that_new_settings_cannot_read_are_not_bought_again_either(cache: Cache, samples: Samples) -> None:
    vendor = Vendor(GOOD)
    with _order(vendor, cache, samples) as order:
        _buy(order, samples)
    with (
        _order(vendor, cache, samples, labels={"cat": 0, "hound": 1}) as order,
        pytest.raises(PlanRefused, match=r"12 samples with paid answers.*'dog'.*12 samples"),
    ):
        _buy(order, samples)
    assert vendor.charged == len(samples)


@pytest.mark.parametrize("bound", [True, False])
def test_answers_that_new_settings_cannot_read_are_not_bought_with_more_samples(
    cache: Cache, samples: Samples, bound: bool
) -> None:
    """Only samples without a kept answer are bought, although some of the kept answers can be read."""
    vendor, six = Vendor(LYNX, GOOD, LYNX, GOOD), dict(list(samples.items())[:6])
    with _order(vendor, cache, six, labels=MENDED) as order:
        _buy(order, six)
    with _order(vendor, cache, samples) as order:
        made = plan(order)
        assert (made.cached, len(made.blocked), made.most_calls) == (4, 2, 6)
        with cache.buying() as buyer, pytest.raises(PlanRefused, match=r"cached: 6 samples; not bought: 2 samples"):
            fetch(order, made, samples, buyer=buyer, bound=bound)
    assert vendor.charged == len(samples)
    keys = [key for record in cache.purchases() for key in record.sample_keys]
    assert len(keys) == len(set(keys)), "no sample is in two purchases"


OTHER_SETTINGS: dict[str, dict[str, Any]] = {
    "labels": {"labels": {"cat": 1, "dog": 0}},
    "top_k": {"top_k": 1},
    "unreadable": {"labels": {"cat": 0, "hound": 1}},
}


@pytest.mark.parametrize("settings", OTHER_SETTINGS.values(), ids=OTHER_SETTINGS)
def test_samples_that_a_worker_with_other_settings_is_buying_are_paid_once(
    cache: Cache, samples: Samples, ledger_place: Path | str, settings: dict[str, Any]
) -> None:
    """Its answers come while this one waits for them; they are read, not bought."""
    vendor, is_readable = Vendor(GOOD), settings is not OTHER_SETTINGS["unreadable"]
    with (
        Cache(ledger_place) as theirs,
        _order(vendor, theirs, samples) as other,
        _order(vendor, cache, samples, **settings) as order,
        theirs.buying() as their_lock,
        cache.buying() as buyer,
    ):
        begun = theirs.claim(other.claims(), their_lock, 6)

        def answer_one(_seconds: float) -> None:
            purchase = begun.pop()
            images = np.stack([samples[key] for key in purchase.sample_keys])
            answer = other.teacher.buy(
                images,
                description=other.description,
                idempotency_key=purchase.idempotency_key,
                outputs=purchase.kinds,
            )
            theirs.complete(purchase, answer.outputs, teacher_id=answer.teacher_id, raw=answer.raw)

        made = plan(order)
        assert (made.elsewhere, len(made.to_buy)) == (6, 6)
        if is_readable:
            assert fetch(order, made, samples, buyer=buyer, sleep=answer_one) == 6
            assert plan(order).cached == len(samples)
        else:
            vendor.bodies = [_scores(("cat", 0.75), ("hound", 0.25))] * 6 + [GOOD]
            with pytest.raises(PlanRefused, match=r"cached: 6 samples; not bought: 6 samples"):
                fetch(order, made, samples, buyer=buyer, sleep=answer_one)
    assert vendor.charged == len(samples)


def test_samples_that_a_worker_with_other_settings_bought_since_the_plan_are_not_bought(
    cache: Cache, samples: Samples, ledger_place: Path | str
) -> None:
    """As while a user reads the price."""
    vendor = Vendor(GOOD)
    with (
        Cache(ledger_place) as theirs,
        _order(vendor, theirs, samples) as other,
        _order(vendor, cache, samples, labels={"cat": 1, "dog": 0}) as order,
    ):
        made = plan(order)
        assert len(made.to_buy) == len(samples)
        _buy(other, samples)
        with cache.buying() as buyer:
            assert fetch(order, made, samples, buyer=buyer, bound=True) == 0
        assert plan(order).cached == len(samples)
    assert vendor.charged == len(samples)


def test_file_that_a_worker_bought_in_another_size_since_the_plan_is_not_bought(
    cache: Cache, ledger_place: Path | str, tmp_path: Path
) -> None:
    """The same file is another sample in another `data.image_size`."""
    place = tmp_path / "pet.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(place)
    small, large = (np.full((1, size, size), 7, np.uint8) for size in (4, 8))
    vendor = Vendor(GOOD)
    with (
        Cache(ledger_place) as theirs,
        _order(vendor, theirs, {sample_key(small): small}, sends_files=True) as other,
        _order(vendor, cache, {sample_key(large): large}, sends_files=True) as order,
    ):
        for of, image in ((other, small), (order, large)):
            of.teacher.use_files({sample_key(image): [Picture.at(str(place))]})
        made = plan(order)
        _buy(other, other.samples)
        with cache.buying() as buyer:
            assert fetch(order, made, order.samples, buyer=buyer) == 0
        assert plan(order).cached == 1
    assert vendor.charged == 1


def test_answer_of_another_model_or_version_is_not_read_as_this_one_s(cache: Cache, samples: Samples) -> None:
    vendor = Vendor(GOOD)
    with _order(vendor, cache, samples) as order:
        _buy(order, samples)
    with _order(vendor, cache, samples, model_version="june") as order:
        assert len(plan(order).to_buy) == len(samples)


def test_unread_answer_of_a_stated_version_is_read_once_that_version_is_configured(
    cache: Cache, samples: Samples
) -> None:
    """Also with another table: the answer says which version it is of."""
    vendor, one = Vendor(LYNX, headers={"X-Model-Version": "july"}), dict(list(samples.items())[:1])
    with _order(vendor, cache, one) as order, pytest.raises(AnswerUnread):
        _buy(order, one)
    with _order(vendor, cache, one, labels=MENDED, model_version="july") as order:
        assert plan(order).cached == 1
    assert vendor.charged == 1


def test_answer_that_another_version_gave_is_not_bought_again_under_another_table(
    cache: Cache, samples: Samples
) -> None:
    vendor, one = Vendor(GOOD, headers={"X-Model-Version": "july"}), dict(list(samples.items())[:1])
    with _order(vendor, cache, one) as order, pytest.raises(Exception, match="replaced during the purchase"):
        _buy(order, one)
    for labels in (LABELS, MENDED):
        with (
            _order(vendor, cache, one, labels=labels) as order,
            pytest.raises(PlanRefused, match=r"got answers of .*july.*teacher\.model_version"),
        ):
            _buy(order, one)
    assert vendor.charged == 1


def test_summary_verification_and_reconciliation_count_it_as_paid(cache: Cache, samples: Samples) -> None:
    vendor, one = Vendor(LYNX), dict(list(samples.items())[:1])
    with _order(vendor, cache, one) as order, pytest.raises(AnswerUnread):
        _buy(order, one)
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
        with _order(vendor, cache, one) as order, pytest.raises(AnswerUnread):
            _buy(order, one)
        with closing(sqlite3.connect(place)) as file, file:
            file.execute("UPDATE raw_answers SET content = substr(content, 1, 9)")
        (damage,) = verify(cache).damages
        assert damage.reason.startswith("raw answer: ")
        with (
            _order(vendor, cache, one, labels=MENDED) as order,
            pytest.raises(PlanRefused, match="the kept answer is damaged"),
        ):
            _buy(order, one)
    assert vendor.charged == 1


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
    assert (vendor.charged, _statuses(cache)) == (1, ["unread"])


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
    assert _statuses(cache) == ["done"]


BROKEN = b"\x1f\x8b\x08 broken"
"""No gzip, although it begins so."""


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-unknown"])
def test_answer_that_cannot_be_decoded_is_kept_as_it_arrived(cache: Cache, samples: Samples, encoding: str) -> None:
    """It was paid, however wrong its Content-Encoding is."""
    one = dict(list(samples.items())[:1])
    vendor = Vendor(BROKEN, headers={"Content-Encoding": encoding})
    expected = rf"its Content-Encoding is {encoding}, and it cannot be decoded so.*kept and not bought again"
    with _order(vendor, cache, one) as order, pytest.raises(AnswerUnread, match=expected):
        _buy(order, one)
    with _order(vendor, cache, one) as order, pytest.raises(PlanRefused, match="Content-Encoding"):
        _buy(order, one)
    with _order(vendor, cache, one) as order, cache.reading() as connection:
        (kept,) = kept_answers(connection, order.description.id, order.description.source)
        raw = raw_answer(connection, kept)
    assert (raw.content, raw.headers["content-encoding"]) == (BROKEN, encoding)
    assert (vendor.charged, _statuses(cache)) == (1, ["unread"])
    with _oip_order(vendor, cache) as order, pytest.raises(AnswerUnread, match="Content-Encoding"):
        _plan_and_buy(order)


def test_plain_answer_that_a_proxy_calls_compressed_is_read(cache: Cache, samples: Samples) -> None:
    vendor = Vendor(GOOD, headers={"Content-Encoding": "gzip"})
    with _order(vendor, cache, samples) as order:
        assert _buy(order, samples) == len(samples)


def test_compressed_answer_is_read_and_kept_decoded(cache: Cache, samples: Samples) -> None:
    one = dict(list(samples.items())[:1])
    vendor = Vendor(gzip.compress(json.dumps(LYNX).encode()), headers={"Content-Encoding": "gzip"})
    with _order(vendor, cache, one) as order, pytest.raises(AnswerUnread, match="'lynx'"):
        _buy(order, one)
    with _order(vendor, cache, one, labels=MENDED) as order:
        assert plan(order).cached == 1
