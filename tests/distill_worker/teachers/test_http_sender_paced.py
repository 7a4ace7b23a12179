"""What pacing and retrying make of one another: no wait twice, and no attempt that could cost twice."""

import time
from email.utils import formatdate

import httpx
import pytest

from distill_worker.errors import TeacherError, TeacherRefused, TeacherUnavailable
from distill_worker.teachers.pace.pacer import Pacer
from tests.distill_worker.teachers.scripted_server import URL, Answer, Server, logits, refusal

EMPTY = {
    "RateLimit-Policy": '"samples-per-minute";q=60;w=60;qu="samples"',
    "RateLimit": '"samples-per-minute";r=0;t=60',
}


def _with(headers: dict[str, str], answer: httpx.Response) -> httpx.Response:
    answer.headers.update(headers)
    return answer


def test_what_an_answer_tells_is_waited_for_before_the_next_request() -> None:
    """Two samples at one a second, without a refusal."""
    server = Server(_with(EMPTY, logits()), logits())
    with server.sender() as sender:
        for _ in range(2):
            sender.buy("/infer", samples=2, repeats_are_free=True)
    assert server.now == pytest.approx(2)
    assert server.slept == []


def test_a_refusal_s_wait_and_the_limit_s_are_one_wait() -> None:
    """Retry-After says 2 s; so does the limit for two samples. Nobody waits 4."""
    server = Server(_with(EMPTY, refusal(429, kind="rate-limited", retry_after="2")), logits())
    server.buy()
    assert 2 <= server.now <= 2.25
    assert len(server.slept) == 1


def test_waiting_for_a_limit_is_no_failure_that_uses_up_patience() -> None:
    """A minute in the queue, then a failure that passes: it is retried as if it were the first thing that happened."""
    crowded = {**EMPTY, "RateLimit-Policy": '"samples-per-minute";q=2;w=60;qu="samples"'}
    server = Server(_with(crowded, logits()), refusal(503), logits())
    with server.sender(give_up_after=20) as sender:
        sender.buy("/infer", samples=2, repeats_are_free=True)
        sender.buy("/infer", samples=2, repeats_are_free=True)
    assert len(server.requests) == 3
    assert server.now > 60


def test_a_teacher_that_is_closed_for_long_is_not_waited_for() -> None:
    """By nobody: the next request gives up at once, and says that nothing was charged."""
    server = Server(refusal(429, retry_after="86400"))
    with server.sender() as sender:
        for _ in range(2):
            with pytest.raises(TeacherUnavailable, match=URL) as raised:
                sender.buy("/infer", samples=2, repeats_are_free=True)
            assert raised.value.unpaid
    assert len(server.requests) == 1
    assert server.now < 1


def test_a_request_that_is_being_answered_already_says_nothing_of_the_pace() -> None:
    """409 is about one Idempotency-Key; 503 is about everybody."""
    for status, at_once in ((409, 4), (503, 2)):
        server = Server(refusal(status))
        pacer = Pacer(4, 120, lambda: 0.0)
        with server.sender(pacer=pacer, give_up_after=0) as sender, pytest.raises(TeacherUnavailable):
            sender.buy("/infer", samples=1, repeats_are_free=True)
        assert pacer.at_once == at_once


@pytest.mark.parametrize("told", ["99999999999999", "9" * 400])
def test_an_absurd_wait_is_given_up_and_uncharged(told: str) -> None:
    server = Server(refusal(429, retry_after=told))
    with pytest.raises(TeacherUnavailable, match=URL) as raised:
        server.buy(repeats_are_free=False)
    assert raised.value.unpaid
    assert len(server.requests) == 1
    assert server.now == 0


@pytest.mark.parametrize(
    "failure",
    [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), refusal(429), refusal(503, retry_after="1")],
    ids=["no connection", "slow connection", "429", "503 with Retry-After"],
)
def test_what_was_certainly_not_charged_is_repeated_even_where_repeats_cost(failure: Answer) -> None:
    server = Server(failure, logits())
    server.buy(repeats_are_free=False)
    assert len(server.requests) == 2


def test_a_model_that_is_being_loaded_is_waited_for_as_long_as_it_says() -> None:
    server = Server(httpx.Response(503, json={"error": "loading", "estimated_time": 20}), logits())
    server.buy(repeats_are_free=False)
    (slept,) = server.slept
    assert 20 <= slept <= 20.25


@pytest.mark.parametrize(
    "said",
    [
        {"estimated_time": "soon"},
        {"estimated_time": True},
        {"estimated_time": -1},
        {"estimated_time": 10**400},
        [],
    ],
    ids=["word", "boolean", "negative", "beyond any float", "list"],
)
def test_estimate_that_is_no_time_is_none(said: object) -> None:
    """Then nothing says that the request was not charged."""
    with pytest.raises(TeacherError, match="may have been charged"):
        Server(httpx.Response(503, json=said)).buy(repeats_are_free=False)


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ReadTimeout("slow"),
        httpx.WriteError("broke off"),
        httpx.RemoteProtocolError("broke off"),
        refusal(409, retry_after="1"),
        refusal(502),
        refusal(503),
        refusal(504, retry_after="1"),
    ],
    ids=lambda failure: type(failure).__name__ if isinstance(failure, Exception) else str(failure.status_code),
)
def test_what_may_have_been_charged_is_not_repeated_where_repeats_cost(failure: Answer) -> None:
    """It is no `TeacherUnavailable` either, which whoever buys might take for an invitation."""
    server = Server(failure, logits())
    with pytest.raises(TeacherError, match=r"may have been charged.*not repeated") as raised:
        server.buy(repeats_are_free=False)
    assert not isinstance(raised.value, (TeacherUnavailable, TeacherRefused))
    assert len(server.requests) == 1
    assert server.slept == []


def test_refusal_after_attempts_that_cost_nothing_says_that_nothing_was_charged() -> None:
    with pytest.raises(TeacherRefused):
        Server(refusal(429, retry_after="1"), httpx.ConnectError("refused"), refusal(400)).buy()


@pytest.mark.parametrize(
    ("failures", "unpaid"),
    [
        ([httpx.ConnectError("refused")], True),
        ([httpx.ReadTimeout("slow"), httpx.ConnectError("refused")], False),
        ([refusal(429, retry_after="1"), httpx.ReadTimeout("slow")], False),
    ],
    ids=["never reached", "lost, then not reached", "refused, then lost"],
)
def test_giving_up_says_whether_any_attempt_may_have_been_charged(failures: list[Answer], unpaid: bool) -> None:
    with pytest.raises(TeacherUnavailable) as raised:
        Server(*failures).buy(give_up_after=10)
    assert raised.value.unpaid is unpaid


@pytest.mark.parametrize("clock", [0, -300, 300], ids=["right", "behind", "ahead"])
def test_other_requests_wait_for_a_date_on_the_servers_clock(clock: int) -> None:
    """Retry-After closes the teacher for all requests, not for the refused one alone."""
    now = int(time.time()) + clock
    headers = {"Date": formatdate(now, usegmt=True), "Retry-After": formatdate(now + 20, usegmt=True)}
    server = Server(_with(headers, refusal(429)), logits())
    with server.sender(give_up_after=0) as sender:
        with pytest.raises(TeacherUnavailable):
            sender.buy("/infer", samples=2, repeats_are_free=True)
        sender.buy("/infer", samples=2, repeats_are_free=True)
    assert 20 <= server.now <= 20.25


@pytest.mark.parametrize("clock", [0, -300, 300], ids=["right", "behind", "ahead"])
def test_reset_on_the_servers_clock_is_waited_for(clock: int) -> None:
    now = int(time.time()) + clock
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(now + 20), "Date": formatdate(now, usegmt=True)}
    server = Server(_with(headers, logits()), logits())
    with server.sender() as sender:
        for _ in range(2):
            sender.buy("/infer", samples=2, repeats_are_free=True)
    assert server.now == pytest.approx(20)
