"""A key that comes in the URL: requests need it, and nothing that is kept or shown has it."""

import json
from base64 import b64encode

import httpx
import numpy as np
import pytest

from distill_worker.errors import TeacherError, TeacherUnavailable
from distill_worker.teachers.http_errors import public_url
from tests.distill_worker.teachers.scripted_server import METADATA, Server, refusal
from tests.distill_worker.teachers.vendors.clients import labelled_scores

LABELS = {"cat": 0, "dog": 1}
IMAGE = np.zeros((1, 1, 2, 2), np.uint8)
SECRET = "http://user:hunter2@teacher.test/v1?api-key=SECRET&b=%2B#x"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://teacher.test:8000", "http://teacher.test:8000"),
        ("https://teacher.test/a/", "https://teacher.test/a"),
        ("https://user@teacher.test/a@b", "https://teacher.test/a@b"),
        ("https://user:p@ss@[::1]:8000/", "https://[::1]:8000"),
        (SECRET, "http://teacher.test/v1"),
        ("http://teacher.test?u=a@b/c", "http://teacher.test"),
        ("user:hunter2@teacher.test", "teacher.test"),
    ],
)
def test_who_asks_is_not_shown(url: str, shown: str) -> None:
    assert public_url(url) == shown


def _asked_with_the_key(request: httpx.Request, path: str) -> bool:
    basic = b64encode(b"user:hunter2").decode()
    return (request.url.raw_path.decode(), request.headers["Authorization"]) == (
        f"{path}?api-key=SECRET&b=%2B",
        f"Basic {basic}",
    )


def test_key_in_the_url_of_an_open_inference_server_is_used_and_not_told() -> None:
    answers = [{"name": "triton", "extensions": []}, {**METADATA, "versions": ["1"]}]
    server = Server(*(httpx.Response(200, json=answer) for answer in answers), refusal(404), refusal(401))
    with server.teacher(url=SECRET) as teacher:
        described = teacher.describe()
        with pytest.raises(TeacherError) as raised:
            teacher.buy(np.zeros((1, 3, 2, 2), np.uint8), description=described, idempotency_key="k")
    assert described.id == "http://teacher.test/v1/m/1"
    assert str(raised.value) == "http://teacher.test/v1: 401 because"
    paths = ["/v2", "/v2/models/m", "/v1/quota", "/v2/models/m/versions/1/infer"]
    assert all(_asked_with_the_key(request, f"/v1{path}") for request, path in zip(server.requests, paths, strict=True))


def test_query_of_the_url_goes_with_those_of_a_page() -> None:
    server = Server(httpx.Response(200, json={"queries": [], "next": None}))
    with server.teacher(url="http://teacher.test?api-key=SECRET") as teacher:
        assert list(teacher.queries(0.0) or ["no log"]) == []
    assert dict(server.requests[0].url.params).keys() == {"api-key", "limit", "since"}


@pytest.mark.parametrize(
    "answer",
    [refusal(401), httpx.ConnectError("refused"), httpx.Response(200, content="junk")],
    ids=["refused", "not reached", "not readable"],
)
def test_key_in_the_url_of_labelled_scores_is_used_and_not_told(answer: httpx.Response | Exception) -> None:
    server = Server(answer)
    sender = server.sender(url=SECRET, give_up_after=0)
    with labelled_scores(sender, url=SECRET, model="pets", labels=LABELS, top_k=2) as teacher:
        described = teacher.describe()
        with pytest.raises((TeacherError, TeacherUnavailable), match=r"^http://teacher\.test/v1: ") as raised:
            teacher.buy(IMAGE, description=described, idempotency_key="k", outputs=("top_k:2",))
    assert described.id.startswith("http://teacher.test/v1/pets/unversioned/")
    assert "SECRET" not in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert _asked_with_the_key(server.requests[0], "/v1")


def test_who_gives_other_labels_another_meaning_is_another_teacher() -> None:
    """In whatever order they are told."""
    ids = []
    for labels in (LABELS, dict(reversed(LABELS.items())), {"cat": 1, "dog": 0}, {**LABELS, "newt": 2}):
        with labelled_scores(Server().sender(), url="http://t.test", model="m", labels=labels) as teacher:
            ids.append((json.dumps(labels), teacher.describe().id))
    assert ids[0][1] == ids[1][1]
    assert len({one for _, one in ids}) == 3
