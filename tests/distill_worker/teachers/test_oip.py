"""A client of a server that refuses, dawdles, breaks off and talks nonsense: httpx's transport is the seam."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import httpx
import numpy as np
import pytest

from distill_worker.errors import QuotaExhausted, TeacherError, TeacherRefused, TeacherUnavailable
from distill_worker.teachers.base import Description, Quota
from distill_worker.teachers.oip import OipTeacher
from shared import oip, problem

URL = "http://teacher.test:8000"
IMAGES = np.arange(2 * 12, dtype=np.uint8).reshape(2, 3, 2, 2)
LOGITS = np.array([[1, 2, 3, 4, 5], [-1, 0, 1, 0, 0.5]], dtype=np.float32)
DESCRIPTION = Description("abc123", (3, 2, 2), 5, 16, {"logits": (5,)})
METADATA: dict[str, Any] = {
    "name": "m",
    "versions": ["1", "abc123"],
    "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 3, 2, 2]}],
    "outputs": [{"name": "label", "shape": [-1]}, {"name": "logits", "datatype": "FP32", "shape": [-1, 5]}],
    "parameters": {"max_batch_size": 16},
}
FINGERPRINTS = {"name": "ours", "extensions": [oip.BINARY_EXTENSION, oip.FINGERPRINT_EXTENSION]}

Answer = httpx.Response | Exception


class Server:
    """Gives its answers in order, the last one for ever, and remembers the requests; `slept` is the client's clock."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The transport's handler."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def teacher(
        self,
        *,
        url: str = URL,
        api_key: str | None = "secret",
        give_up_after: float = 120,
        on_retry: Callable[[str], None] = lambda _: None,
    ) -> OipTeacher:
        """A client of this server."""
        return OipTeacher(
            url,
            model="m",
            api_key=api_key,
            timeout_seconds=5,
            give_up_after_seconds=give_up_after,
            on_retry=on_retry,
            transport=httpx.MockTransport(self),
            sleep=self.slept.append,
        )

    def buy(self, *, give_up_after: float = 120) -> Any:
        """The logits that a client gets for `IMAGES`."""
        with self.teacher(give_up_after=give_up_after) as teacher:
            return teacher.buy(IMAGES, description=DESCRIPTION, idempotency_key="k1").outputs["logits"]


def _logits(
    logits: np.ndarray = LOGITS,
    *,
    name: str = "logits",
    binary: bool = True,
    version: str = "abc123",
    answers: str = "k1",
) -> httpx.Response:
    body = oip.encode_response(
        {name: logits},
        binary={name} if binary else set(),
        model_name="m",
        model_version=version,
        request_id=answers,
    )
    return httpx.Response(200, content=body.content, headers=body.headers)


def _refusal(status: int, *, kind: str = "about:blank", retry_after: str | None = None) -> httpx.Response:
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    return httpx.Response(
        status, json={"type": problem.TYPE_PREFIX + kind, "detail": "because", "error": "because"}, headers=headers
    )


def _describe(metadata: Any = METADATA, server: Any = FINGERPRINTS, *, url: str = URL) -> Description:
    with Server(httpx.Response(200, json=server), httpx.Response(200, json=metadata)).teacher(url=url) as teacher:
        return teacher.describe()


@pytest.mark.parametrize("binary", [True, False])
def test_buying_sends_the_pixels_and_returns_the_logits(binary: bool) -> None:
    """To the version that was described, with the account's key and the quoted Idempotency-Key."""
    server = Server(_logits(binary=binary))
    bought = server.buy()
    assert bought.dtype == np.float32
    assert np.array_equal(bought, LOGITS)
    (request,) = server.requests
    assert (request.method, str(request.url)) == ("POST", f"{URL}/v2/models/m/versions/abc123/infer")
    assert request.headers["Idempotency-Key"] == '"k1"'
    assert request.headers["Authorization"] == "Bearer secret"
    head, tensors = oip.decode_request(request.content, request.headers[oip.HEADER_LENGTH])
    assert np.array_equal(tensors["images"], IMAGES)
    assert [output.name for output in head.outputs] == ["logits"]


@pytest.mark.parametrize(
    "failure",
    [
        _refusal(409, retry_after="1"),
        _refusal(429, kind="rate-limited", retry_after="1"),
        _refusal(502),
        _refusal(503, retry_after="1"),
        _refusal(504),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("broke off"),
    ],
    ids=lambda failure: type(failure).__name__ if isinstance(failure, Exception) else str(failure.status_code),
)
def test_passing_failure_is_answered_with_the_same_request(failure: Answer) -> None:
    """Same Idempotency-Key, same bytes: whatever the first attempt cost, the second costs nothing."""
    server = Server(failure, failure, _logits())
    assert np.array_equal(server.buy(), LOGITS)
    assert len(server.requests) == 3
    assert len({(request.headers["Idempotency-Key"], request.content) for request in server.requests}) == 1


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        (lambda: "7", 7, 7.25),
        (lambda: "0", 0, 0.25),
        (lambda: formatdate(time.time() + 30, usegmt=True), 28, 30.25),
        (lambda: formatdate(time.time() - 30, usegmt=True), 0, 0.25),
    ],
    ids=["seconds", "zero", "date", "past date"],
)
@pytest.mark.parametrize("status", [409, 429, 503])
def test_retry_after_is_obeyed(retry_after: Callable[[], str], least: float, most: float, status: int) -> None:
    server = Server(_refusal(status, kind="rate-limited", retry_after=retry_after()), _logits())
    server.buy()
    (slept,) = server.slept
    assert least <= slept <= most


@pytest.mark.parametrize("retry_after", [None, "soon", "-1", ""])
def test_wait_without_a_readable_retry_after_is_short_at_first(retry_after: str | None) -> None:
    server = Server(_refusal(503, retry_after=retry_after), _logits())
    server.buy()
    (slept,) = server.slept
    assert 0 < slept < 1


def test_retries_are_capped_in_count() -> None:
    """However little time they take; no single wait of ours is longer than ten seconds."""
    server = Server(_refusal(503))
    with pytest.raises(TeacherUnavailable, match="503 because"):
        server.buy()
    assert len(server.requests) == 30
    assert max(server.slept) <= 10


@pytest.mark.parametrize(("retry_after", "give_up_after"), [("1000", 120.0), (None, 0.0), ("1", 0.5)])
def test_wait_beyond_the_time_allowed_is_not_begun(retry_after: str | None, give_up_after: float) -> None:
    server = Server(_refusal(503, retry_after=retry_after))
    with pytest.raises(TeacherUnavailable):
        server.buy(give_up_after=give_up_after)
    assert len(server.requests) == 1
    assert server.slept == []


def test_exhausted_quota_is_not_retried() -> None:
    """Not even when a Retry-After comes with it."""
    server = Server(_refusal(429, kind=problem.QUOTA_EXCEEDED, retry_after="1"))
    with pytest.raises(QuotaExhausted, match="429 because"):
        server.buy()
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 415])
def test_refused_content_was_never_charged(status: int) -> None:
    server = Server(_refusal(status))
    with pytest.raises(TeacherRefused, match=f"{status} because"):
        server.buy()
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 401, 403, 404, 422, 500, 501])
def test_other_statuses_leave_the_charge_unknown_and_are_not_retried(status: int) -> None:
    """A key revoked or a model replaced after an attempt that was charged: the purchase must stay open."""
    server = Server(_refusal(status))
    with pytest.raises(TeacherError, match=f"{status} because") as raised:
        server.buy()
    assert not isinstance(raised.value, (TeacherRefused, TeacherUnavailable))
    assert len(server.requests) == 1


def test_output_that_the_key_may_not_see_was_never_charged() -> None:
    """On a first attempt, that is; an earlier one may have been charged under another policy."""
    with pytest.raises(TeacherRefused, match="403 because"):
        Server(_refusal(403, kind=problem.OUTPUT_NOT_ALLOWED)).buy()
    with pytest.raises(TeacherError) as raised:
        Server(httpx.ReadTimeout("lost"), _refusal(403, kind=problem.OUTPUT_NOT_ALLOWED)).buy()
    assert not isinstance(raised.value, TeacherRefused)


def test_refusal_without_a_problem_body_shows_its_text() -> None:
    with pytest.raises(TeacherError, match=f"{URL}: 403 <h1>Forbidden"):
        Server(httpx.Response(403, text="<h1>Forbidden</h1>")).buy()


def test_lasting_connection_failure_says_what_to_check() -> None:
    server = Server(httpx.ConnectError("connection refused"))
    with pytest.raises(TeacherUnavailable, match=f"{URL}: .*connection refused.*is it running, and is the URL right"):
        server.buy()
    assert len(server.requests) > 1


def test_questions_are_retried_for_less_time_than_purchases() -> None:
    """Whoever asks for the price is waiting, and has nothing to lose; a purchase may have been charged."""
    server = Server(_refusal(503, retry_after="15"))
    with server.teacher() as teacher, pytest.raises(TeacherUnavailable):
        teacher.describe()
    assert server.slept == []
    with pytest.raises(TeacherUnavailable):
        server.buy()
    assert len(server.slept) > 1


def test_every_retry_is_told_before_its_wait() -> None:
    server, told = Server(_refusal(503, retry_after="7"), _logits()), list[str]()
    with server.teacher(on_retry=told.append) as teacher:
        teacher.buy(IMAGES, description=DESCRIPTION, idempotency_key="k1")
    (message,) = told
    assert message.startswith(f"{URL}: 503 because; trying again in 7.")


@pytest.mark.parametrize(
    "error",
    [httpx.UnsupportedProtocol("missing an 'http://' protocol"), httpx.LocalProtocolError("illegal header value")],
    ids=["URL without a scheme", "line break in the API key"],
)
def test_request_that_cannot_be_sent_is_not_retried(error: Exception) -> None:
    """No wait mends TEACHER_URL=localhost:8000, so the command must not sit there."""
    server = Server(error)
    with pytest.raises(TeacherError, match=URL):
        server.buy()
    assert server.slept == []


@pytest.mark.parametrize("answer", [_logits(version="other"), _logits(answers="k2")], ids=["version", "request"])
def test_answer_to_another_question_is_refused_and_not_kept(answer: httpx.Response) -> None:
    """A proxy that mixes answers up must not fill the cache with them."""
    with pytest.raises(TeacherError, match=r"expected the answer of version abc123 to request k1.*not kept"):
        Server(answer).buy()


def test_refused_repetition_does_not_claim_that_nothing_was_charged() -> None:
    """The first attempt may have been charged and its answer lost."""
    with pytest.raises(TeacherError) as raised:
        Server(httpx.ReadTimeout("lost"), _refusal(400)).buy()
    assert not isinstance(raised.value, TeacherRefused)


def _edited(**head: Any) -> httpx.Response:
    output = {"name": "logits", "datatype": "FP32", "shape": [2, 5], "data": LOGITS.ravel().tolist(), **head}
    return httpx.Response(200, json={"model_name": "m", "outputs": [output]})


@pytest.mark.parametrize(
    "answer",
    [
        _logits(LOGITS[:1]),
        _logits(LOGITS.T.copy()),
        _logits(LOGITS[:, :4]),
        _logits(LOGITS.ravel()),
        _logits(np.full((2, 5), np.nan, dtype=np.float32)),
        _logits(np.where(LOGITS > 4, np.inf, LOGITS).astype(np.float32)),
        _logits(np.where(LOGITS > 4, 1e300, LOGITS.astype(np.float64))),
        _logits(name="probabilities"),
        _edited(data=[1, 2]),
        _edited(datatype="BYTES"),
        httpx.Response(200, content=b"\x00\xff garbage"),
        httpx.Response(200, content=b""),
        httpx.Response(200, content=_logits().content[:-4], headers=_logits().headers),
        httpx.Response(200, content=_logits().content, headers={oip.HEADER_LENGTH: "many"}),
        httpx.Response(200, stream=httpx.ByteStream(b"not gzip"), headers={"Content-Encoding": "gzip"}),
    ],
    ids=[
        "too few",
        "transposed",
        "classes missing",
        "flat",
        "NaN",
        "infinite",
        "infinite as float32",
        "other output",
        "data too short",
        "other datatype",
        "garbage",
        "empty",
        "cut short",
        "bad length",
        "bad gzip",
    ],
)
def test_answer_that_is_not_logits_is_refused_and_not_kept(answer: httpx.Response) -> None:
    """The call may have been charged, so it is no `TeacherRefused`; asking again at once would bring the same."""
    server = Server(answer)
    with pytest.raises(TeacherError, match=URL) as raised:
        server.buy()
    assert not isinstance(raised.value, (TeacherRefused, TeacherUnavailable))
    assert len(server.requests) == 1


def _buy_with_map(features: np.ndarray, described: Mapping[str, tuple[int, ...]]) -> Mapping[str, np.ndarray]:
    body = oip.encode_response(
        {"logits": LOGITS, "features.a": features}, binary={"features.a"}, model_name="m", model_version="abc123"
    )
    server = Server(httpx.Response(200, content=body.content, headers=body.headers))
    with server.teacher() as teacher:
        bought = teacher.buy(
            IMAGES,
            description=replace(DESCRIPTION, outputs=described),
            idempotency_key="k1",
            outputs=("features.a", "logits"),
        )
    head, _ = oip.decode_request(server.requests[0].content, server.requests[0].headers[oip.HEADER_LENGTH])
    assert [output.name for output in head.outputs] == ["features.a", "logits"]
    return bought.outputs


@pytest.mark.parametrize("described", [{"features.a": (3, 1, 2)}, {}], ids=["offered", "offered no more"])
def test_several_outputs_come_in_one_answer_each_in_its_shape(described: Mapping[str, tuple[int, ...]]) -> None:
    """One that is offered no more was paid for when it was, in a purchase that is repeated now."""
    features = np.arange(12, dtype=np.float32).reshape(2, 3, 1, 2)
    bought = _buy_with_map(features, described)
    assert list(bought) == ["features.a", "logits"]
    assert np.array_equal(bought["features.a"], features)
    assert np.array_equal(bought["logits"], LOGITS)


@pytest.mark.parametrize(
    "features",
    [np.zeros((2, 3, 2, 1), np.float32), np.zeros((2, 6), np.float32), np.full((2, 3, 1, 2), np.nan, np.float32)],
    ids=["transposed", "flat", "NaN"],
)
def test_features_of_another_shape_or_not_finite_are_not_kept(features: np.ndarray) -> None:
    with pytest.raises(TeacherError, match=r"finite features\.a of shape \[2, 3, 1, 2\].*not kept"):
        _buy_with_map(features, {"features.a": (3, 1, 2)})


def test_answer_without_an_output_that_was_asked_for_is_not_kept() -> None:
    with pytest.raises(TeacherError, match="features"), Server(_logits()).teacher() as teacher:
        teacher.buy(IMAGES, description=DESCRIPTION, idempotency_key="k1", outputs=("features.a", "logits"))


def test_description_is_read_from_the_metadata() -> None:
    assert _describe() == Description("abc123", (3, 2, 2), 5, 16, {"logits": (5,), "label": ()})


def test_outputs_that_could_not_be_kept_are_not_offered() -> None:
    """Whatever they look like, they are no reason to refuse the logits beside them."""
    features = {"name": "features.a", "datatype": "FP32", "shape": [-1, 8, 2, 2]}
    odd: list[dict[str, Any]] = [
        {"name": "boxes", "datatype": "FP32", "shape": [-1, -1, 4]},
        {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "index", "datatype": "INT64", "shape": [-1, 1]},
        {"name": "scores", "datatype": "FP32"},
    ]
    described = _describe({**METADATA, "outputs": [*METADATA["outputs"][1:], features, *odd]})
    assert described.outputs == {"logits": (5,), "features.a": (8, 2, 2)}


@pytest.mark.parametrize("url", [URL, URL + "/"])
def test_version_that_is_no_fingerprint_is_bound_to_its_address(url: str) -> None:
    """Version 1 of another server is another teacher."""
    described = _describe({**METADATA, "versions": ["1"]}, {"name": "triton", "extensions": []}, url=url)
    assert described.id == f"{URL}/m/1"
    server = Server(_logits(version="1"))
    with server.teacher() as teacher:
        teacher.buy(IMAGES, description=described, idempotency_key="k1")
    assert server.requests[0].url.path == "/v2/models/m/versions/1/infer"


@pytest.mark.parametrize("parameters", [{}, {"max_batch_size": 0}, None])
def test_request_size_is_unlimited_when_the_teacher_does_not_say(parameters: dict[str, int] | None) -> None:
    assert _describe({**METADATA, "parameters": parameters}).max_request_size is None


@pytest.mark.parametrize(
    "edit",
    [
        {"versions": []},
        {"versions": None},
        {"inputs": []},
        {"inputs": None},
        {"inputs": ["images"]},
        {"inputs": [{"name": "images", "shape": [-1, 784]}]},
        {"outputs": [{"name": "label", "shape": [-1]}]},
        {"outputs": [{"name": "logits", "shape": []}]},
        {"parameters": {"max_batch_size": "many"}},
    ],
    ids=json.dumps,
)
def test_metadata_of_another_kind_of_model_is_refused(edit: dict[str, Any]) -> None:
    with pytest.raises(TeacherError, match=f"{URL}: expected model 'm' to take `images`"):
        _describe({**METADATA, **edit})


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json=["v2"])])
def test_server_that_speaks_another_protocol_is_refused(answer: httpx.Response) -> None:
    with Server(answer).teacher() as teacher, pytest.raises(TeacherError, match=f"{URL}/v2: expected (a )?JSON"):
        teacher.describe()


def test_quota_is_read() -> None:
    body = {"limit": 100, "used": 30, "reserved": 10, "remaining": 60}
    with Server(httpx.Response(200, json=body)).teacher() as teacher:
        assert teacher.quota() == Quota(100, 30, 60)


@pytest.mark.parametrize(("told", "features"), [(True, True), (False, False), (None, None), ("yes", None)])
def test_quota_says_whether_the_key_may_see_features(told: object, features: bool | None) -> None:
    body = {"limit": 100, "used": 30, "remaining": 60, "features": told}
    with Server(httpx.Response(200, json=body)).teacher() as teacher:
        assert teacher.quota() == Quota(100, 30, 60, features)


def test_quota_is_unknown_where_there_is_no_such_endpoint() -> None:
    with Server(_refusal(404)).teacher() as teacher:
        assert teacher.quota() is None


@pytest.mark.parametrize(
    "answer", [_refusal(401), httpx.Response(200, json={"quota": 5}), httpx.Response(200, json={"limit": None})]
)
def test_unreadable_quota_is_an_error(answer: httpx.Response) -> None:
    with Server(answer).teacher() as teacher, pytest.raises(TeacherError, match=URL):
        teacher.quota()


def test_payer_tells_accounts_apart_and_gives_no_key_away() -> None:
    payers = [Server(_logits()).teacher(api_key=key).payer for key in ("secret", "secret", "other", None)]
    assert payers[0] == payers[1]
    assert len(set(payers)) == 3
    assert all(len(payer) <= 16 and "secret" not in payer for payer in payers)


@pytest.mark.parametrize(
    ("answer", "ready"),
    [(httpx.Response(200, json={}), True), (_refusal(503), False), (httpx.ConnectError("refused"), False)],
)
def test_readiness_asks_once(answer: Answer, ready: bool) -> None:
    server = Server(answer)
    with server.teacher() as teacher:
        assert teacher.is_ready() is ready
    assert len(server.requests) == 1
