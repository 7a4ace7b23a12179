"""Burst limits: what is admitted at once, what comes back when, and clocks that step."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teacher_service.policy.rate_limit import MAX_PER_MINUTE, Bucket

NOW = 1_700_000_000.0


def test_whole_limit_passes_at_once_and_comes_back_evenly() -> None:
    """Six a minute: six at once, then one every ten seconds."""
    bucket = Bucket(6).at(NOW)
    assert (bucket.remaining, bucket.whole_in_seconds) == (6, 0)
    spent = bucket.spend(6)
    assert (spent.remaining, spent.whole_in_seconds, spent.seconds_until(1)) == (0, 60, 10)
    assert spent.at(NOW + 9.999).remaining == 0
    assert [spent.at(NOW + seconds).remaining for seconds in (10, 19, 20, 59, 60, 600)] == [1, 1, 2, 5, 6, 6]


@given(
    per_minute=st.integers(1, MAX_PER_MINUTE),
    steps=st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 10**12)), max_size=30),
)
def test_never_more_than_the_limit_and_its_refill(per_minute: int, steps: list[tuple[int, int]]) -> None:
    """Against exact fractions: what remains is the limit less what was spent plus what came back, rounded down."""
    bucket, left, now_ms = Bucket(per_minute), Fraction(per_minute), 1_700_000_000_000
    for wait_ms, cost in steps:
        now_ms += wait_ms
        left = min(Fraction(per_minute), left + Fraction(per_minute * wait_ms, 60_000))
        bucket = bucket.at(now_ms / 1000)
        assert bucket.remaining == int(left)
        if cost <= bucket.remaining:
            bucket, left = bucket.spend(cost), left - cost
        elif cost <= per_minute:
            assert bucket.seconds_until(cost) == pytest.approx(float((cost - left) * 60 / per_minute))
        assert bucket.debt < 2**63


def test_clock_set_back_a_little_gives_nothing_and_a_lot_forgives() -> None:
    """Replicas' clocks differ by seconds: that must not refill anything. Nobody waits for hours after a correction."""
    spent = Bucket(6).at(NOW).spend(6)
    assert spent.at(NOW - 5).remaining == 0
    assert spent.at(NOW - 5).at(NOW + 10).remaining == 1
    assert spent.at(NOW - 3600).remaining == 6
    assert spent.at(NOW + 86_400).remaining == 6
