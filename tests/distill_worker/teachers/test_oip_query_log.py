"""The teacher's own log of what was asked, read page by page."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from distill_worker.errors import TeacherError
from distill_worker.teachers.base import LoggedQuery
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.oip import OipTeacher

URL = "http://teacher.test:8000"
BEGAN = datetime(2027, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)


def _query(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "id": number,
        "request_id": f"r{number}",
        "key_id": "abc",
        "model_name": "teacher",
        "model_version": "v1",
        "samples": 32,
        "outputs": "logits,features.a",
        "idempotency_key": f"k{number}",
        "status": "settled",
        "created_at": "2027-01-31T12:00:00.250000Z",
        "finished_at": "2027-01-31T12:00:01Z",
        **changed,
    }


class Log:
    """Serves its pages by cursor."""

    def __init__(self, pages: dict[int | None, Any]) -> None:
        self.pages = pages
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The transport's handler."""
        assert request.url.path == "/v1/queries"
        self.asked.append(dict(request.url.params))
        cursor = request.url.params.get("cursor")
        page = self.pages.get(None if cursor is None else int(cursor))
        return httpx.Response(404, json={}) if page is None else httpx.Response(200, content=json.dumps(page))

    def teacher(self) -> OipTeacher:
        """A client of this log."""
        sender = Sender(
            URL, api_key="secret", timeout_seconds=5, give_up_after_seconds=0, transport=httpx.MockTransport(self)
        )
        return OipTeacher(sender, model="m")


def test_pages_are_followed_to_the_end_and_no_further() -> None:
    log = Log(
        {
            None: {"queries": [_query(3), _query(2, status="released", finished_at=None)], "next": 2},
            2: {"queries": [_query(1, idempotency_key=None, outputs=None)], "next": None},
        }
    )
    with log.teacher() as teacher:
        told = teacher.queries(since=BEGAN.timestamp())
        assert told is not None
        found = list(told)
    at, finished = BEGAN.timestamp(), datetime(2027, 1, 31, 12, 0, 1, tzinfo=UTC).timestamp()
    outputs = ("logits", "features.a")
    assert found == [
        LoggedQuery("k3", "r3", 32, outputs, "settled", "v1", at, finished),
        LoggedQuery("k2", "r2", 32, outputs, "released", "v1", at, None),
        LoggedQuery(None, "r1", 32, (), "settled", "v1", at, finished),
    ]
    assert [asked.get("cursor") for asked in log.asked] == [None, "2"]
    assert all(datetime.fromisoformat(asked["since"]) == BEGAN and asked["limit"] == "1000" for asked in log.asked)


def test_later_pages_are_asked_for_when_they_are_read() -> None:
    log = Log({None: {"queries": [_query(3)], "next": 3}, 3: {"queries": [], "next": None}})
    with log.teacher() as teacher:
        told = teacher.queries()
        assert told is not None
        assert next(told).request_id == "r3"
        assert log.asked == [{"limit": "1000"}]


def test_teacher_without_a_log_says_so() -> None:
    with Log({}).teacher() as teacher:
        assert teacher.queries() is None


@pytest.mark.parametrize(
    "page",
    [
        [],
        {"queries": []},
        {"queries": [1], "next": None},
        {"queries": [_query(1, status="lost")], "next": None},
        {"queries": [_query(1, created_at="soon")], "next": None},
        {"queries": [{"request_id": "r"}], "next": None},
    ],
    ids=lambda page: json.dumps(page)[:40],
)
def test_log_that_cannot_be_read_is_an_error(page: Any) -> None:
    """Never an empty log: who believes that would ask again and pay twice."""
    with Log({None: page}).teacher() as teacher, pytest.raises(TeacherError, match=URL):
        list(teacher.queries() or [])
