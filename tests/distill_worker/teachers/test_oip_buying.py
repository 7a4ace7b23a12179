"""What is sent to a server of the protocol, and which of its answers are kept."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from distill_worker.errors import TeacherError, TeacherRefused, TeacherUnavailable
from shared import oip
from tests.distill_worker.teachers.scripted_server import DESCRIPTION, IMAGES, LOGITS, URL, Server, logits


@pytest.mark.parametrize("binary", [True, False])
def test_buying_sends_the_pixels_and_returns_the_logits(binary: bool) -> None:
    """To the version that was described, with the account's key and the quoted Idempotency-Key."""
    server = Server(logits(binary=binary))
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


def test_answer_to_another_question_is_refused_and_not_kept() -> None:
    """A proxy that mixes answers up must not fill the cache with them."""
    with pytest.raises(TeacherError, match=r"expected the answer to request k1, got that to request k2"):
        Server(logits(answers="k2")).buy()


def _edited(**head: Any) -> httpx.Response:
    output = {"name": "logits", "datatype": "FP32", "shape": [2, 5], "data": LOGITS.ravel().tolist(), **head}
    return httpx.Response(200, json={"model_name": "m", "outputs": [output]})


@pytest.mark.parametrize(
    "answer",
    [
        logits(LOGITS[:1]),
        logits(LOGITS.T.copy()),
        logits(LOGITS[:, :4]),
        logits(LOGITS.ravel()),
        logits(np.full((2, 5), np.nan, dtype=np.float32)),
        logits(np.where(LOGITS > 4, np.inf, LOGITS).astype(np.float32)),
        logits(np.where(LOGITS > 4, 1e300, LOGITS.astype(np.float64))),
        logits(name="probabilities"),
        _edited(data=[1, 2]),
        _edited(datatype="BYTES"),
        httpx.Response(200, content=b"\x00\xff garbage"),
        httpx.Response(200, content=b""),
        httpx.Response(200, content=logits().content[:-4], headers=logits().headers),
        httpx.Response(200, content=logits().content, headers={oip.HEADER_LENGTH: "many"}),
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
    with pytest.raises(TeacherError, match=r"finite features\.a of shape \[2, 3, 1, 2\], got "):
        _buy_with_map(features, {"features.a": (3, 1, 2)})


def test_answer_without_an_output_that_was_asked_for_is_not_kept() -> None:
    with pytest.raises(TeacherError, match="features"), Server(logits()).teacher() as teacher:
        teacher.buy(IMAGES, description=DESCRIPTION, idempotency_key="k1", outputs=("features.a", "logits"))
