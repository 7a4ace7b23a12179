"""What is made of the headers of servers: ours, the draft's, and vendors'."""

from math import inf

import pytest

from distill_worker.teachers.pace.rate_limit_headers import Allowance, Limits, limits

NOW = 1_800_000_000.0


def _only(headers: dict[str, str]) -> Allowance:
    (allowance,) = limits(headers, NOW).allowances
    return allowance


def test_what_our_service_says_is_read() -> None:
    """A lifetime quota has no window, so it is never a reason to wait."""
    read = limits(
        {
            "ratelimit-policy": '"quota";q=50;qu="samples", "requests-per-minute";q=3;w=60;qu="requests", '
            '"samples-per-minute";q=600;w=60;qu="samples", "concurrent";q=4;qu="concurrent-requests"',
            "ratelimit": '"quota";r=0, "requests-per-minute";r=2;t=20, "samples-per-minute";r=568;t=4, '
            '"concurrent";r=3',
        },
        NOW,
    )
    assert read == Limits(
        (Allowance("requests", 2, 20, 3, 60, True), Allowance("samples", 568, 4, 600, 60, True)), most_at_once=4
    )


@pytest.mark.parametrize(
    ("remaining", "resets", "even"),
    [
        (0, 60, True),
        (0, 59.9, True),
        (0, 59, False),
        (568, 4, True),
        (568, 3.2, True),
        (568, 40, False),
        (600, 0, True),
        (0, 5, False),
    ],
)
def test_a_bucket_is_told_from_a_window_by_when_it_is_whole(remaining: int, resets: float, even: bool) -> None:
    """600 in 60 s: what lacks comes back at ten a second, or at once at the reset."""
    allowance = Allowance.stated("samples", remaining, resets, 600, 60)
    assert allowance is not None
    assert allowance.refills_evenly is even


def test_a_bucket_fills_evenly_up_to_its_limit() -> None:
    bucket = Allowance("samples", 0, 60, 600, 60, refills_evenly=True)
    assert bucket.seconds_until(32) == pytest.approx(3.2)
    assert bucket.later(3.2).remaining == pytest.approx(32)
    assert bucket.later(1000).remaining == 600
    assert bucket.later(3.2).spent(32).seconds_until(32) == pytest.approx(3.2)
    assert bucket.seconds_until(10_000) == pytest.approx(60), "as much as there can be, where a request is larger"


def test_a_window_gives_everything_back_at_its_end() -> None:
    window = Allowance("requests", 1, 5, 100, 60)
    assert (window.seconds_until(1), window.seconds_until(2)) == (0, 5)
    assert window.later(4).seconds_until(2) == 1
    assert window.later(5).remaining == 100
    assert window.later(5).spent(100).seconds_until(1) == 60


def test_a_window_of_unknown_length_is_no_reason_to_wait_after_its_end() -> None:
    window = _only({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "7"})
    assert window.seconds_until(1) == 7
    assert window.later(8).remaining == inf


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "5", "x-ratelimit-reset": "30"},
        {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "5", "x-ratelimit-reset": str(int(NOW) + 30)},
        {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "5", "ratelimit-reset": "30"},
        {"ratelimit": "limit=100, remaining=5, reset=30"},
    ],
    ids=["vendor", "point in time", "early draft", "later draft"],
)
def test_older_forms_are_read_as_requests(headers: dict[str, str]) -> None:
    assert _only(headers) == Allowance("requests", 5, 30, 100)


def test_structured_field_without_a_policy_counts_requests_until_its_reset() -> None:
    assert _only({"ratelimit": '"default";r=5;t=30'}) == Allowance("requests", 5, 30)


def test_names_may_be_tokens_or_hold_commas() -> None:
    policy = '"a,b;q=1";q=10;w=1;qu="samples", burst;w=60;q=20'
    read = limits({"ratelimit-policy": policy, "ratelimit": '"a,b;q=1";r=4, burst;r=7'}, NOW)
    assert [(one.unit, one.remaining, one.limit) for one in read.allowances] == [
        ("samples", 4, 10),
        ("requests", 7, 20),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ratelimit": ""},
        {"ratelimit": '"default'},
        {"ratelimit": '"default";r=5;t=30 "other"'},
        {"ratelimit": '"default";r=five;t=30'},
        {"ratelimit": '"default";r=-1;t=30'},
        {"ratelimit": '"default";r=5'},
        {"ratelimit": '"bytes";r=5;t=30', "ratelimit-policy": '"bytes";q=10;w=60;qu="content-bytes"'},
        {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "6m0s"},
        {"x-ratelimit-remaining": "nan", "x-ratelimit-reset": "7"},
        {"ratelimit": '"a";r=' + "9" * 400 + ";t=1"},
        {"ratelimit": "limit=100, remaining=" + "9" * 400 + ", reset=30"},
        {"ratelimit": '"' + ";" * 5000},
    ],
    ids=lambda headers: str(headers)[:60],
)
def test_what_cannot_be_read_is_passed_over(headers: dict[str, str]) -> None:
    assert limits(headers, NOW) == Limits()
