"""Burst limits and changed terms, over HTTP."""

import pytest

from teacher_service.keys.api_key import NewKey
from teacher_service.keys.store import KeyStore
from teacher_service.policy.key_terms import KeyTerms
from tests.teacher_service.running_service import INFER, ServiceUnderTest, images
from tests.teacher_service.wire import assert_refused


@pytest.fixture
def limited(service: ServiceUnderTest) -> ServiceUnderTest:
    """A key that may ask three requests a minute, with six samples in all."""
    keys: KeyStore = service.app.state.service.keys
    key: NewKey = keys.create("limited", 50, terms=KeyTerms(requests_per_minute=3, samples_per_minute=6))
    service.key = key
    return service


def test_headers_and_quota_say_what_is_left_of_each_limit(limited: ServiceUnderTest) -> None:
    paid = limited.infer(images(4))
    assert paid.headers["ratelimit-policy"] == (
        '"quota";q=50;qu="samples", "requests-per-minute";q=3;w=60;qu="requests", '
        '"samples-per-minute";q=6;w=60;qu="samples"'
    )
    assert paid.headers["ratelimit"] == ('"quota";r=46, "requests-per-minute";r=2;t=20, "samples-per-minute";r=2;t=40')
    assert limited.quota()["samples_per_minute"] == {"limit": 6, "remaining": 2, "whole_in_seconds": 40.0}


def test_too_fast_is_told_when_to_come_back(limited: ServiceUnderTest) -> None:
    limited.infer(images(6))
    refused = limited.infer(images(3))
    assert_refused(refused, 429, "rate-limited")
    assert refused.headers["retry-after"] == "30"
    assert "x-should-retry" not in refused.headers
    assert limited.counts() == (6, 0)


def test_malformed_requests_count_against_the_burst_and_not_the_quota(limited: ServiceUnderTest) -> None:
    """Until the limit is reached they are told what is wrong; then that they are too fast."""
    for left in (2, 1, 0):
        refused = limited.send("POST", INFER, limited.authorization, b"{")
        assert_refused(refused, 400, "invalid-request")
        assert f'"requests-per-minute";r={left};' in refused.headers["ratelimit"]
    assert_refused(limited.send("POST", INFER, limited.authorization, b"{"), 429, "rate-limited")
    assert_refused(limited.infer(images(1)), 429, "rate-limited")
    assert limited.counts() == (0, 0)


def test_questions_that_cost_nothing_are_not_limited(limited: ServiceUnderTest) -> None:
    for _ in range(5):
        assert limited.quota()["requests_per_minute"]["remaining"] == 3


def test_changed_key_is_noticed_by_the_next_request(limited: ServiceUnderTest) -> None:
    """The service remembers keys; the ledger knows better."""
    keys: KeyStore = limited.app.state.service.keys
    assert limited.infer(images(1)).status_code == 200
    keys.change(limited.key.id, requests_per_minute=None, samples_per_minute=None, max_concurrent=1)
    paid = limited.infer(images(1))
    assert paid.headers["ratelimit"] == '"quota";r=48, "concurrent";r=1'
    fresh = keys.rotate(limited.key.id)
    assert_refused(limited.infer(images(1)), 401, "unauthorized")
    limited.key = fresh
    assert limited.infer(images(1)).status_code == 200
    keys.revoke(limited.key.id)
    assert_refused(limited.infer(images(1)), 401, "unauthorized")
    assert_refused(limited.send("POST", INFER, limited.authorization, b"{"), 401, "unauthorized")
