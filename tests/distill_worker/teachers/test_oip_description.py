"""What is made of a model's metadata and of its server's."""

import json
from typing import Any

import httpx
import pytest

from distill_worker.errors import TeacherError
from distill_worker.teachers.base import Description, Quota
from tests.distill_worker.teachers.scripted_server import IMAGES, METADATA, URL, Server, describe, logits, refusal


def test_description_is_read_from_the_metadata() -> None:
    assert describe() == Description("abc123", (3, 2, 2), 5, 16, {"logits": (5,), "label": (1,)})


def test_outputs_that_could_not_be_kept_are_not_offered() -> None:
    """Whatever they look like, they are no reason to refuse the logits beside them."""
    features = {"name": "features.a", "datatype": "FP32", "shape": [-1, 8, 2, 2]}
    odd: list[dict[str, Any]] = [
        {"name": "boxes", "datatype": "FP32", "shape": [-1, -1, 4]},
        {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "index", "datatype": "INT64", "shape": [-1, 1]},
        {"name": "scores", "datatype": "FP32"},
    ]
    described = describe({**METADATA, "outputs": [*METADATA["outputs"][1:], features, *odd]})
    assert described.outputs == {"logits": (5,), "features.a": (8, 2, 2)}


@pytest.mark.parametrize("url", [URL, URL + "/"])
def test_version_that_is_no_fingerprint_is_bound_to_its_address(url: str) -> None:
    """Version 1 of another server is another teacher."""
    described = describe({**METADATA, "versions": ["1"]}, {"name": "triton", "extensions": []}, url=url)
    assert described.id == f"{URL}/m/1"
    server = Server(logits(version="1"))
    with server.teacher() as teacher:
        teacher.buy(IMAGES, description=described, idempotency_key="k1")
    assert server.requests[0].url.path == "/v2/models/m/versions/1/infer"


@pytest.mark.parametrize("parameters", [{}, {"max_batch_size": 0}, None])
def test_request_size_is_unlimited_when_the_teacher_does_not_say(parameters: dict[str, int] | None) -> None:
    assert describe({**METADATA, "parameters": parameters}).max_request_size is None


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
        describe({**METADATA, **edit})


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
    with Server(refusal(404)).teacher() as teacher:
        assert teacher.quota() is None


@pytest.mark.parametrize(
    "answer", [refusal(401), httpx.Response(200, json={"quota": 5}), httpx.Response(200, json={"limit": None})]
)
def test_unreadable_quota_is_an_error(answer: httpx.Response) -> None:
    with Server(answer).teacher() as teacher, pytest.raises(TeacherError, match=URL):
        teacher.quota()
