"""What an operator changes about a key takes effect on the very next request, in every process."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from teacher_service.keys.api_key import NewKey
from teacher_service.keys.store import KeyStore
from teacher_service.policy.key_terms import TermChanges
from teacher_service.policy.output_policy import OutputPolicy
from tests.end_to_end.asking import INFER, ask, outcome, paying
from tests.end_to_end.clocked_service import FileClock
from tests.end_to_end.processes import RunningService, http

QUOTA = 20


@pytest.fixture
def services(two_services: list[RunningService]) -> list[RunningService]:
    """Two on one ledger, whose clock stands still: no rate limit refills while a test runs."""
    return two_services


@pytest.fixture
def keys(services: list[RunningService]) -> Iterator[KeyStore]:
    """The keys, as a third process changes them."""
    with services[0].keys(_clock(services)) as opened:
        yield opened


@pytest.fixture
def key(services: list[RunningService], keys: KeyStore) -> NewKey:
    """A key that both services have met, and remember."""
    made = keys.create(f"known {secrets.token_hex(4)}", QUOTA)
    assert _at_each(services, made.token) == ["answered", "answered"]
    return made


def test_grant_is_spent_at_once(services: list[RunningService], keys: KeyStore) -> None:
    made = keys.create("poor", 2)
    assert _at_each(services, made.token) == ["answered", "answered"]
    for _ in range(2):
        assert _at_each(services, made.token) == ["quota-exceeded", "quota-exceeded"]
        keys.grant(made.id, 2, "more")
        assert _at_each(services, made.token) == ["answered", "answered"]
    assert _at_each(services, made.token) == ["quota-exceeded", "quota-exceeded"]
    assert services[1].quota(made.token)["limit"] == 6


def test_revoked_key_is_refused_at_once(services: list[RunningService], keys: KeyStore, key: NewKey) -> None:
    """Whatever it asks: a query, a malformed one, a paid answer again, its quota."""
    assert outcome(ask(services[0], key.token, 1, "paid")) == "answered"
    keys.revoke(key.id)
    for service in services:
        malformed = http().post(service.url + INFER, content=b"{", headers=paying(key.token))
        quota = http().get(f"{service.url}/v1/quota", headers=paying(key.token))
        for refused in (ask(service, key.token), ask(service, key.token, 1, "paid"), malformed, quota):
            assert (refused.status_code, outcome(refused)) == (401, "unauthorized")
    assert keys.show(key.id).quota.used == 3


def test_old_secret_is_refused_at_once_and_the_new_one_taken(
    services: list[RunningService], keys: KeyStore, key: NewKey
) -> None:
    fresh = keys.rotate(key.id)
    assert _at_each(services, key.token) == ["unauthorized", "unauthorized"]
    assert _at_each(services, fresh.token) == ["answered", "answered"]
    assert services[0].quota(fresh.token)["used"] == 4


def test_fewer_outputs_are_told_at_once(services: list[RunningService], keys: KeyStore, key: NewKey) -> None:
    keys.change(key.id, outputs=OutputPolicy.parse("label"))
    assert _at_each(services, key.token) == ["output-not-allowed", "output-not-allowed"]
    for service in services:
        told = _unnamed(service, key.token).json()["outputs"]
        assert [output["name"] for output in told] == ["label"]
    assert services[0].quota(key.token)["used"] == 4


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"requests_per_minute": 1}, ["answered", "rate-limited"]),
        ({"samples_per_minute": 1}, ["answered", "rate-limited"]),
        ({"expires_at": 1.0}, ["unauthorized", "unauthorized"]),
        ({"max_concurrent": 0}, ["rate-limited", "rate-limited"]),
    ],
    ids=["requests", "samples", "expiry", "concurrency"],
)
def test_lower_limits_hold_at_once(
    services: list[RunningService],
    keys: KeyStore,
    key: NewKey,
    terms: TermChanges,
    expected: list[str],
) -> None:
    """Both services together keep them, and both let go when they are lifted."""
    lifted: TermChanges = {
        "requests_per_minute": None,
        "samples_per_minute": None,
        "max_concurrent": None,
        "expires_at": _clock(services)() + 1000,
    }
    keys.change(key.id, **terms)
    assert _at_each(services, key.token) == expected
    keys.change(key.id, **lifted)
    assert _at_each(services, key.token) == ["answered", "answered"]


def test_lower_limit_than_a_request_needs_refuses_it_at_once(
    services: list[RunningService], keys: KeyStore, key: NewKey
) -> None:
    keys.change(key.id, samples_per_minute=2)
    assert [outcome(ask(service, key.token, 3)) for service in services] == ["invalid-request", "invalid-request"]


def _clock(services: list[RunningService]) -> FileClock:
    return FileClock(Path(services[0].environment["CLOCK"]))


def _at_each(services: list[RunningService], api_key: str) -> list[str]:
    return [outcome(ask(service, api_key)) for service in services]


def _unnamed(service: RunningService, api_key: str) -> httpx.Response:
    """A request that names no outputs, and is answered in JSON."""
    tensor = {"name": "images", "shape": [1, 1, 8, 8], "datatype": "UINT8", "data": [0] * 64}
    answer = http().post(service.url + INFER, json={"inputs": [tensor]}, headers=paying(api_key))
    answer.raise_for_status()
    return answer
