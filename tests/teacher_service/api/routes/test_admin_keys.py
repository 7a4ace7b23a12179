"""`/v1/admin/keys`: who may, what is refused and how, and what changes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response

from tests.teacher_service.ledger_file import table_gone
from tests.teacher_service.running_service import ServiceUnderTest, images, start_service
from tests.teacher_service.wire import assert_refused

ADMIN_KEY = "sixteen or more characters"
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
KEYS = "/v1/admin/keys"
PROBLEM = "application/problem+json"
NEW = {"name": "lab", "quota": 50}


@pytest.fixture
def administered(weights: Path, tmp_path: Path, ledger_place: Path | str) -> Iterator[ServiceUnderTest]:
    """A service that has an admin key, on each kind of database."""
    url = ledger_place if isinstance(ledger_place, str) else f"sqlite:///{ledger_place}"
    with start_service(weights, tmp_path, admin_key=ADMIN_KEY, database_url=url) as started:
        yield started


@pytest.fixture(scope="module")
def patient(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceUnderTest]:
    """One for all requests that must change nothing."""
    with start_service(weights, tmp_path_factory.mktemp("patient"), admin_key=ADMIN_KEY) as started:
        yield started


def _ask(
    service: ServiceUnderTest, method: str, path: str = "", body: Any = None, headers: dict[str, str] | None = None
) -> Response:
    response: Response = service.http.request(method, KEYS + path, headers=ADMIN | (headers or {}), json=body)
    return response


def _made(service: ServiceUnderTest, **terms: Any) -> dict[str, str]:
    made = _ask(service, "POST", body=NEW | terms)
    assert made.status_code == 201, made.text
    key: dict[str, str] = made.json()
    return key


def _quota(service: ServiceUnderTest, token: str) -> Response:
    return service.send("GET", "/v1/quota", {"Authorization": f"Bearer {token}"})


ROUTES = [
    ("POST", ""),
    ("GET", ""),
    ("GET", "/abc"),
    ("PATCH", "/abc"),
    ("POST", "/abc/grants"),
    ("POST", "/abc/rotate"),
    ("POST", "/abc/revoke"),
    ("GET", "/../queries"),
    ("GET", "/../usage"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nobody_passes_without_the_admin_key(patient: ServiceUnderTest, method: str, path: str) -> None:
    """Nor is anything read of a request before that: its body may be wrong too."""
    place = "/v1/admin/" + path.removeprefix("/../") if ".." in path else KEYS + path
    said = ("", "Bearer", f"Basic {ADMIN_KEY}", f"Bearer {ADMIN_KEY}x", f"Bearer {ADMIN_KEY[:-1]}")
    wrong: list[dict[str, str]] = [{}, {"X-API-Key": ADMIN_KEY}, patient.authorization]
    for headers in (*wrong, *({"Authorization": credentials} for credentials in said)):
        refused = patient.send(method, place, headers, b"{")
        assert_refused(refused, 401, "unauthorized", PROBLEM)
        assert refused.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_service_without_an_admin_key_says_how_to_have_one(
    patient_service: ServiceUnderTest, method: str, path: str
) -> None:
    place = "/v1/admin/" + path.removeprefix("/../") if ".." in path else KEYS + path
    for headers in ({}, ADMIN):
        refused = patient_service.send(method, place, headers, b"{")
        assert_refused(refused, 403, "admin-disabled", PROBLEM)
        assert "TEACHER_ADMIN_KEY" in refused.json()["detail"]


def test_key_is_made_told_once_and_works(administered: ServiceUnderTest) -> None:
    made = _ask(administered, "POST", body=NEW | {"holder": "Ada", "outputs": "top_k:2,probabilities:3"})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    key = made.json()
    assert key.keys() == {"id", "key"}
    assert _quota(administered, key["key"]).json()["limit"] == 50
    facts = {
        "id": key["id"],
        "name": "lab",
        "holder": "Ada",
        "outputs": "probabilities:3,top_k:2",
        "revoked": False,
        **dict.fromkeys(("expires_at", "requests_per_minute", "samples_per_minute", "max_concurrent")),
        **dict.fromkeys(("limit", "remaining"), 50),
        **dict.fromkeys(("used", "reserved", "in_flight"), 0),
    }
    listed = _ask(administered, "GET")
    assert facts in listed.json()["keys"], "these fields and no others"
    one = _ask(administered, "GET", f"/{key['id']}")
    shown = one.json()
    [grant] = shown.pop("grants")
    assert shown == facts
    assert grant == {"samples": 50, "reason": "created", "reference": None, "created_at": "1970-01-12T13:46:40Z"}
    secret = key["key"].rpartition("_")[2]
    for text in (listed.text, one.text):
        assert secret not in text
        assert sha256(secret.encode()).hexdigest() not in text
    assert_refused(_ask(administered, "POST", body=NEW), 409, "name-taken", PROBLEM)


def test_change_changes_what_is_named_and_null_takes_a_limit_away(administered: ServiceUnderTest) -> None:
    key = _made(administered, requests_per_minute=7, samples_per_minute=70, expires_at="30d")
    path = f"/{key['id']}"
    before = _ask(administered, "GET", path).json()
    assert before["expires_at"] == "1970-02-11T13:46:40Z", "30 days after the clock of these tests"
    changed = _ask(administered, "PATCH", path, {"requests_per_minute": None, "max_concurrent": 2})
    assert changed.status_code == 200
    after = {"requests_per_minute": None, "max_concurrent": 2}
    assert changed.json() == {name: value for name, value in (before | after).items() if name != "grants"}
    last = _ask(administered, "PATCH", path, {"expires_at": None, "holder": "Ada", "outputs": "label"}).json()
    assert (last["expires_at"], last["holder"], last["outputs"]) == (None, "Ada", "label")
    assert (last["samples_per_minute"], last["max_concurrent"]) == (70, 2)


def test_rotated_key_is_told_once_and_the_old_one_refused(administered: ServiceUnderTest) -> None:
    old = _made(administered)
    rotated = _ask(administered, "POST", f"/{old['id']}/rotate")
    assert (rotated.status_code, rotated.headers["cache-control"]) == (200, "no-store")
    assert rotated.json()["id"] == old["id"]
    assert _quota(administered, rotated.json()["key"]).status_code == 200
    assert _quota(administered, old["key"]).status_code == 401


def test_revoked_key_is_refused_and_stays_listed(administered: ServiceUnderTest) -> None:
    key = _made(administered)
    for _ in range(2):
        revoked = _ask(administered, "POST", f"/{key['id']}/revoke")
        assert (revoked.status_code, revoked.json()) == (200, {"id": key["id"], "revoked": True})
    assert _quota(administered, key["key"]).status_code == 401
    assert _ask(administered, "GET", f"/{key['id']}").json()["revoked"] is True
    for method, path, body in (("PATCH", "", {"holder": "x"}), ("POST", "/rotate", None)):
        assert_refused(_ask(administered, method, f"/{key['id']}{path}", body), 404, "unknown-key", PROBLEM)


def test_grant_counts_at_once(administered: ServiceUnderTest) -> None:
    key = _made(administered, quota=1)
    administered.key = type(administered.key)(key["id"], key["key"], "")
    assert administered.infer(images(2)).status_code == 429
    granted = _ask(administered, "POST", f"/{key['id']}/grants", {"samples": 1, "reason": "more"})
    assert granted.status_code == 201
    assert granted.json() == {
        "key_id": key["id"],
        "samples": 1,
        "reason": "more",
        "reference": None,
        "limit": 2,
        "created_at": "1970-01-12T13:46:40Z",
    }
    assert administered.infer(images(2)).status_code == 200


def test_retried_grant_is_granted_once_and_answers_the_same(administered: ServiceUnderTest) -> None:
    """Ten at once, and once more after another grant; quoted and bare."""
    key = _made(administered)
    path, body = f"/{key['id']}/grants", {"samples": 7}

    def grant(_: int) -> Response:
        return _ask(administered, "POST", path, body, {"Idempotency-Key": "term 2"})

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(grant, range(10)))
    assert _ask(administered, "POST", path, {"samples": 100}).json()["limit"] == 157
    answers.append(_ask(administered, "POST", path, body, {"Idempotency-Key": '"term 2"'}))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert (answers[0].json()["limit"], answers[0].json()["reference"]) == (57, "term 2")
    assert [answer.headers.get("idempotency-replayed") for answer in answers].count(None) == 1
    shown = _ask(administered, "GET", f"/{key['id']}").json()
    assert (shown["limit"], [grant["samples"] for grant in shown["grants"]]) == (157, [50, 7, 100])


def test_other_grant_under_the_same_key_is_refused(administered: ServiceUnderTest) -> None:
    """And the same word for another API key is another word."""
    first, second = _made(administered), _made(administered, name="second")
    word = {"Idempotency-Key": "term 2"}
    for key in (first, second):
        assert _ask(administered, "POST", f"/{key['id']}/grants", {"samples": 7}, word).status_code == 201
    for body in ({"samples": 8}, {"samples": 7, "reason": "other"}):
        refused = _ask(administered, "POST", f"/{first['id']}/grants", body, word)
        assert_refused(refused, 422, "idempotency-key-reused", PROBLEM)
    assert _quota(administered, first["key"]).json()["limit"] == 57


WRONG_BODIES: list[tuple[str, str, Any, str]] = [
    ("POST", "", {"quota": 5}, "name: expected a value, got none"),
    ("POST", "", NEW | {"name": ""}, "name: expected at least 1 character, got ''"),
    ("POST", "", NEW | {"name": "a" * 201}, "name: expected at most 200 characters"),
    ("POST", "", NEW | {"name": "a\x00b"}, "name: expected text without control characters, got 'a\\x00b'"),
    ("POST", "", NEW | {"name": 5}, "name: expected text, got 5"),
    ("POST", "", NEW | {"quota": "5"}, "quota: expected a whole number, got '5'"),
    ("POST", "", NEW | {"quota": 5.0}, "quota: expected a whole number, got 5.0"),
    ("POST", "", NEW | {"quota": True}, "quota: expected a whole number, got true"),
    ("POST", "", NEW | {"quota": -1}, "quota: expected at least 0, got -1"),
    ("POST", "", NEW | {"quota": 10**15}, "quota: expected at most 999999999999999"),
    ("POST", "", NEW | {"holder": "\x00"}, "holder: expected text without control"),
    ("POST", "", NEW | {"holder": None}, "holder: expected text, got null"),
    ("POST", "", NEW | {"outputs": "labels"}, "outputs: expected logits, log_probabilities"),
    ("POST", "", NEW | {"outputs": "features.\x00"}, "outputs: expected at most 500 printable"),
    ("POST", "", NEW | {"outputs": "features." + "x" * 500}, "outputs: expected at most 500 printable"),
    ("POST", "", NEW | {"outputs": ["label"]}, "outputs: expected at most 500 printable"),
    ("POST", "", NEW | {"expires_at": "1969-12-31"}, "expires_at: expected a time to come, got '1969-12-31'"),
    ("POST", "", NEW | {"expires_at": "soon"}, "expires_at: expected an ISO 8601 date"),
    ("POST", "", NEW | {"expires_at": "9999-12-31T23:59-12:00"}, "expires_at: expected an ISO 8601 date"),
    ("POST", "", NEW | {"expires_at": 2e9}, "expires_at: expected an ISO 8601 date"),
    ("POST", "", NEW | {"requests_per_minute": 0}, "requests_per_minute: expected at least 1, got 0"),
    ("POST", "", NEW | {"samples_per_minute": 10**12 + 1}, "samples_per_minute: expected at most"),
    ("POST", "", NEW | {"max_concurrent": "4"}, "max_concurrent: expected a whole number, got '4'"),
    ("POST", "", NEW | {"colour": 1}, "colour: expected only documented fields"),
    ("POST", "", [NEW], "body: expected an object"),
    ("PATCH", "/{id}", {}, "body: expected at least one of holder, outputs, expires_at"),
    ("PATCH", "/{id}", {"quota": 5}, "quota: expected only documented fields"),
    ("PATCH", "/{id}", {"max_concurrent": 0}, "max_concurrent: expected at least 1, got 0"),
    ("POST", "/{id}/grants", {}, "samples: expected a value, got none"),
    ("POST", "/{id}/grants", {"samples": 0}, "samples: expected at least 1, got 0"),
    ("POST", "/{id}/grants", {"samples": 10**15 - 1}, "samples: expected at most 999999999999899 more"),
    ("POST", "/{id}/grants", {"samples": 1, "reason": "\x00"}, "reason: expected text without control characters"),
    ("POST", "/{id}/grants", {"samples": 1, "reason": ""}, "reason: expected at least 1 character"),
]


@pytest.mark.parametrize(("method", "path", "body", "detail"), WRONG_BODIES)
def test_wrong_body_is_refused_by_the_name_of_its_field(
    patient: ServiceUnderTest, method: str, path: str, body: Any, detail: str
) -> None:
    before = _ask(patient, "GET").json()
    refused = _ask(patient, method, path.format(id=patient.key.id), body)
    assert_refused(refused, 400, "invalid-request", PROBLEM)
    assert refused.json()["detail"].startswith(detail), refused.json()["detail"]
    assert _ask(patient, "GET").json() == before


@pytest.mark.parametrize(
    ("content", "headers", "status", "kind"),
    [
        (b"", {}, 400, "invalid-request"),
        (b"{", {}, 400, "invalid-request"),
        (b'{"name": "\\ud800", "quota": 1}', {}, 400, "invalid-request"),
        (b'{"name": "\xff", "quota": 1}', {}, 400, "invalid-request"),
        (b"[" * 10_000, {}, 400, "invalid-request"),
        (b" " * 16_385, {}, 413, "body-too-large"),
        (b"{}", {"Content-Encoding": "br"}, 415, "unsupported-encoding"),
    ],
    ids=["empty", "half", "surrogate", "no_utf8", "deep", "large", "encoding"],
)
def test_body_that_is_no_json_is_refused(
    patient: ServiceUnderTest, content: bytes, headers: dict[str, str], status: int, kind: str
) -> None:
    assert_refused(patient.send("POST", KEYS, ADMIN | headers, content), status, kind, PROBLEM)


@pytest.mark.parametrize("key_id", ["%00", "a%00b", "%ED%A0%80", "a" * 33, "a_b", "%F0%9F%92%A9", "a%0A"])
def test_what_is_no_key_id_is_refused_before_a_database_sees_it(patient: ServiceUnderTest, key_id: str) -> None:
    for method, path in (("GET", ""), ("POST", "/rotate"), ("POST", "/revoke")):
        refused = _ask(patient, method, f"/{key_id}{path}")
        assert_refused(refused, 400, "invalid-request", PROBLEM)
        assert refused.json()["detail"].startswith("key_id: ")


@pytest.mark.parametrize("word", ["", '""', "x" * 256, "\u00e9".encode("latin-1").decode("latin-1")])
def test_idempotency_key_that_cannot_be_kept_is_refused(patient: ServiceUnderTest, word: str) -> None:
    path = f"{KEYS}/{patient.key.id}/grants"
    headers = {name.encode(): value.encode("latin-1") for name, value in (ADMIN | {"Idempotency-Key": word}).items()}
    refused = patient.http.request("POST", path, headers=headers, json={"samples": 1})
    assert_refused(refused, 400, "invalid-request", PROBLEM)
    assert refused.json()["detail"].startswith("Idempotency-Key: ")


def test_unknown_key_is_told(patient: ServiceUnderTest) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"holder": "x"}),
        ("POST", "/grants", {"samples": 1}),
        ("POST", "/rotate", None),
        ("POST", "/revoke", None),
    ):
        assert_refused(_ask(patient, method, f"/nobody{path}", body), 404, "unknown-key", PROBLEM)


def test_failing_ledger_is_told_and_nothing_is_done(administered: ServiceUnderTest, ledger_place: Path | str) -> None:
    with table_gone(ledger_place, "api_keys"):
        for method, body in (("GET", None), ("POST", NEW)):
            assert_refused(_ask(administered, method, body=body), 503, "ledger-unavailable", PROBLEM)
    assert [key["name"] for key in _ask(administered, "GET").json()["keys"]] == ["tester"]
