"""`GET /v1/queries` and `/v1/usage`, a key's own, and those of all for the administrator."""

import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from teacher_service.keys.api_key import NewKey
from teacher_service.query_log.history import History
from tests.teacher_service.ledger_file import table_gone
from tests.teacher_service.running_service import ServiceUnderTest, images, in_progress, start_service
from tests.teacher_service.wire import assert_refused

PROBLEM = "application/problem+json"
ADMIN_KEY = "sixteen or more characters"
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
DAY = 86_400.0


@pytest.fixture
def asked(weights: Path, tmp_path: Path, ledger_place: Path | str) -> Iterator[ServiceUnderTest]:
    """A service, on each kind of database, that answered queries of two keys on three days."""
    url = ledger_place if isinstance(ledger_place, str) else f"sqlite:///{ledger_place}"
    with start_service(weights, tmp_path, admin_key=ADMIN_KEY, database_url=url) as service:
        first, second = service.key, service.new_key("second", 50)
        for day, key, samples in ((0, first, 1), (0, second, 2), (1, first, 3), (3, first, 4)):
            service.clock.now = 1_000_000.0 + day * DAY
            service.key = key
            assert service.infer(images(samples), {"Idempotency-Key": f"day {day}"}).status_code == 200
        service.key = first
        yield service


def _get(service: ServiceUnderTest, path: str, headers: dict[str, str] | None = None, /, **asked: Any) -> Any:
    response = service.http.request("GET", path, headers=headers or service.authorization, params=asked)
    assert response.status_code == 200, response.text
    return response.json()


def _samples(page: Any) -> list[int]:
    return [query["samples"] for query in page["queries"]]


def test_own_queries_are_the_callers_alone_newest_first(asked: ServiceUnderTest) -> None:
    page = _get(asked, "/v1/queries")
    assert (_samples(page), page["next"]) == ([4, 3, 1], None)
    query = page["queries"][1]
    for secret in ("payload_sha256", "answer_sha256"):
        assert len(query.pop(secret)) == 64
    assert {name: query.pop(name) for name in ("id", "request_id", "instance_id")}["id"] == 3
    expected = {
        "key_id": asked.key.id,
        "model_name": "teacher",
        "model_version": asked.teacher.fingerprint,
        "samples": 3,
        "outputs": "logits",
        "idempotency_key": "day 1",
        "status": "settled",
        "created_at": "1970-01-13T13:46:40Z",
        "finished_at": "1970-01-13T13:46:40Z",
    }
    assert query == expected, "these fields and no others"
    secret = asked.key.token.rpartition("_")[2]
    assert secret not in str(page)
    assert sha256(secret.encode()).hexdigest() not in str(page)


def test_pages_follow_each_other_to_the_end(asked: ServiceUnderTest) -> None:
    first = _get(asked, "/v1/queries", limit=2)
    assert _samples(first) == [4, 3]
    assert asked.infer(images(5)).status_code == 200
    last = _get(asked, "/v1/queries", limit=2, cursor=first["next"])
    assert (_samples(last), last["next"]) == ([1], None)
    everything = _get(asked, "/v1/admin/queries", ADMIN, limit=3)
    assert _samples(everything) == [5, 4, 3]
    assert _samples(_get(asked, "/v1/admin/queries", ADMIN, cursor=everything["next"])) == [2, 1]


@pytest.mark.parametrize(
    ("filters", "samples"),
    [
        ({"since": "1970-01-13"}, [4, 3]),
        ({"until": "1970-01-13T13:46:40Z"}, [1]),
        ({"since": "1970-01-13T14:46:40+01:00", "until": "1970-01-14"}, [3]),
        ({"status": "settled"}, [4, 3, 1]),
        ({"status": "released"}, []),
        ({"idempotency_key": "day 0"}, [1]),
        ({"idempotency_key": "day 0", "status": "held"}, []),
    ],
)
def test_filters_leave_what_is_asked_for(asked: ServiceUnderTest, filters: dict[str, str], samples: list[int]) -> None:
    assert _samples(_get(asked, "/v1/queries", None, **filters)) == samples
    found = _get(asked, "/v1/admin/queries", ADMIN, key_id=asked.key.id, **filters)
    assert _samples(found) == samples


def test_query_is_held_while_it_is_answered(asked: ServiceUnderTest) -> None:
    with in_progress(asked, 6):
        [query] = _get(asked, "/v1/queries", status="held")["queries"]
        assert (query["samples"], query["finished_at"], query["answer_sha256"]) == (6, None, None)
    assert _samples(_get(asked, "/v1/queries", limit=1)) == [6]


def test_usage_sums_by_day_and_altogether(asked: ServiceUnderTest) -> None:
    days = [
        {"day": "1970-01-12", "queries": 1, "samples": 1},
        {"day": "1970-01-13", "queries": 1, "samples": 3},
        {"day": "1970-01-15", "queries": 1, "samples": 4},
    ]
    assert _get(asked, "/v1/usage") == {
        "since": "1969-01-15",
        "until": "1970-01-16",
        "days": days,
        "queries": 3,
        "samples": 8,
    }
    some = _get(asked, "/v1/usage", since="1970-01-13", until="1970-01-15")
    assert (some["days"], some["samples"]) == ([days[1]], 3)
    everything = _get(asked, "/v1/admin/usage", ADMIN)
    assert everything["days"] == [{"day": "1970-01-12", "queries": 2, "samples": 3}, *days[1:]]
    assert _get(asked, "/v1/admin/usage", ADMIN, key_id=asked.key.id)["days"] == days


@pytest.mark.parametrize(
    ("path", "filters", "detail"),
    [
        ("queries", {"limit": "0"}, "limit: expected at least 1, got '0'"),
        ("queries", {"limit": "1001"}, "limit: expected at most 1000, got '1001'"),
        ("queries", {"limit": "many"}, "limit: expected a whole number"),
        ("queries", {"cursor": "0"}, "cursor: expected at least 1"),
        ("queries", {"cursor": str(2**63)}, "cursor: expected at most"),
        ("queries", {"cursor": "999"}, "cursor: expected the `next` of an earlier page, got 999"),
        ("queries", {"status": "lost"}, "status: expected 'held', 'settled' or 'released', got 'lost'"),
        ("queries", {"since": "yesterday"}, "since: expected an ISO 8601 date"),
        ("queries", {"until": "\x00"}, "until: expected an ISO 8601 date"),
        ("queries", {"until": "0001-01-01T00:00:00+12:00"}, "until: expected an ISO 8601 date"),
        ("queries", {"idempotency_key": "a\x00"}, "idempotency_key: expected"),
        ("queries", {"sttus": "held"}, "sttus: expected only documented fields"),
        ("usage", {"since": "1970-01-12T10:00"}, "since: expected a day, such as 2027-01-31, got '1970-01-12T10:00'"),
        (
            "usage",
            {"since": "1970-02-01", "until": "1970-01-01"},
            "since: expected a day at most 366 days before until",
        ),
        (
            "usage",
            {"since": "1970-01-01", "until": "1971-01-03"},
            "since: expected a day at most 366 days before until",
        ),
        (
            "usage",
            {"since": "0001-01-01", "until": "9999-12-31"},
            "since: expected a day at most 366 days before until",
        ),
    ],
)
def test_wrong_parameter_is_refused_by_its_name(
    asked: ServiceUnderTest, path: str, filters: dict[str, str], detail: str
) -> None:
    for place, headers in ((f"/v1/{path}", asked.authorization), (f"/v1/admin/{path}", ADMIN)):
        refused = asked.http.request("GET", place, headers=headers, params=filters)
        assert_refused(refused, 400, "invalid-request", PROBLEM)
        assert refused.json()["detail"].startswith(detail), refused.json()["detail"]


def test_administrator_names_the_key_whose_idempotency_key_it_is(asked: ServiceUnderTest) -> None:
    refused = asked.send("GET", "/v1/admin/queries?idempotency_key=x", ADMIN)
    assert_refused(refused, 400, "invalid-request", PROBLEM)
    for key_id in ("%00", "a_b", "x" * 33):
        for path in ("queries", "usage"):
            refused = asked.send("GET", f"/v1/admin/{path}?key_id={key_id}", ADMIN)
            assert_refused(refused, 400, "invalid-request", PROBLEM)


@pytest.mark.parametrize("path", ["/v1/queries", "/v1/usage"])
def test_own_history_needs_a_key_and_tells_its_quota(asked: ServiceUnderTest, path: str) -> None:
    assert_refused(asked.send("GET", path), 401, "unauthorized", PROBLEM)
    told = asked.send("GET", path, asked.authorization)
    assert told.headers["ratelimit"] == '"quota";r=92'
    assert told.headers["ratelimit-policy"] == '"quota";q=100;qu="samples"'


@pytest.mark.parametrize(("path", "table"), [("queries", "queries"), ("usage", "daily_usage")])
def test_failing_ledger_is_told(asked: ServiceUnderTest, ledger_place: Path | str, path: str, table: str) -> None:
    with table_gone(ledger_place, table):
        for place, headers in ((f"/v1/{path}", asked.authorization), (f"/v1/admin/{path}", ADMIN)):
            refused = asked.send("GET", place, headers)
            assert_refused(refused, 503, "ledger-unavailable", PROBLEM)
            assert refused.headers["retry-after"] == "2"
    assert _get(asked, f"/v1/{path}")


def test_database_is_never_asked_on_the_event_loop(asked: ServiceUnderTest) -> None:
    """It would hold up every other request."""
    history: History = asked.app.state.service.history
    threads: set[str] = set()

    def note(*_: object) -> None:
        threads.add(threading.current_thread().name)

    event.listen(history._engine, "before_cursor_execute", note)
    for path, headers in (("/v1/", asked.authorization), ("/v1/admin/", ADMIN)):
        for asked_for in ("queries", "usage"):
            _get(asked, path + asked_for, headers)
    assert threads
    assert all(name.startswith("AnyIO worker thread") for name in threads), threads


def test_key_without_queries_has_an_empty_history(asked: ServiceUnderTest) -> None:
    fresh: NewKey = asked.new_key("fresh", 1)
    headers = {"Authorization": f"Bearer {fresh.token}"}
    assert _get(asked, "/v1/queries", headers) == {"queries": [], "next": None}
    assert _get(asked, "/v1/usage", headers)["days"] == []
