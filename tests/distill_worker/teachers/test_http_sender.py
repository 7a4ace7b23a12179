"""A server that refuses, dawdles and breaks off: what is asked again, when, and what is said of the charge."""

import time
from email.utils import formatdate

import httpx
import numpy as np
import pytest

from distill_worker.errors import AnswerExpired, QuotaExhausted, TeacherError, TeacherRefused, TeacherUnavailable
from shared.oip import problem
from tests.distill_worker.teachers.scripted_server import (
    LOGITS,
    URL,
    Answer,
    Server,
    logits,
    refusal,
)


@pytest.mark.parametrize(
    "failure",
    [
        refusal(409, retry_after="1"),
        refusal(429, kind="rate-limited", retry_after="1"),
        refusal(502),
        refusal(503, retry_after="1"),
        refusal(504),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("broke off"),
    ],
    ids=lambda failure: type(failure).__name__ if isinstance(failure, Exception) else str(failure.status_code),
)
def test_passing_failure_is_answered_with_the_same_request(failure: Answer) -> None:
    """Same Idempotency-Key, same bytes: whatever the first attempt cost, the second costs nothing."""
    server = Server(failure, failure, logits())
    assert np.array_equal(server.buy(), LOGITS)
    assert len(server.requests) == 3
    assert len({(request.headers["Idempotency-Key"], request.content) for request in server.requests}) == 1


@pytest.mark.parametrize("seconds", [7, 0])
@pytest.mark.parametrize("status", [409, 429, 503])
def test_retry_after_in_seconds_is_obeyed(seconds: int, status: int) -> None:
    server = Server(refusal(status, kind="rate-limited", retry_after=str(seconds)), logits())
    server.buy()
    (slept,) = server.slept
    assert seconds <= slept <= seconds + 0.25


@pytest.mark.parametrize("ahead", [30, -30], ids=["date", "past date"])
@pytest.mark.parametrize("status", [409, 429, 503])
def test_retry_after_with_a_date_and_no_clock_is_obeyed(ahead: int, status: int) -> None:
    """However long the test itself takes: the wait is what is left of the time at some point of the purchase."""
    date = int(time.time()) + ahead
    server = Server(refusal(status, kind="rate-limited", retry_after=formatdate(date, usegmt=True)), logits())
    before = time.time()
    server.buy()
    after = time.time()
    (slept,) = server.slept
    assert max(0, date - after) <= slept <= max(0, date - before) + 0.25


@pytest.mark.parametrize("clock", [0, -300, 300], ids=["right", "behind", "ahead"])
@pytest.mark.parametrize("status", [409, 429, 503])
def test_retry_after_with_a_date_is_measured_on_the_servers_clock(clock: int, status: int) -> None:
    """Behind, a date in the past hides a wait; ahead, one in the far future hides a short one."""
    now = int(time.time()) + clock
    refused = refusal(status, kind="rate-limited", retry_after=formatdate(now + 20, usegmt=True))
    refused.headers["Date"] = formatdate(now, usegmt=True)
    server = Server(refused, logits())
    server.buy()
    assert len(server.requests) == 2
    (slept,) = server.slept
    assert 20 <= slept <= 20.25


@pytest.mark.parametrize(("retry_after", "seconds"), [("1.5", 1.5), ("0.75", 0.75), ("2.", 2)])
def test_retry_after_with_a_fraction_is_obeyed(retry_after: str, seconds: float) -> None:
    server = Server(refusal(429, kind="rate-limited", retry_after=retry_after), logits())
    server.buy()
    (slept,) = server.slept
    assert seconds <= slept <= seconds + 0.25


def test_retry_after_that_is_over_does_not_make_attempts_follow_at_once() -> None:
    """Thirty attempts within seconds help nobody: without a wish of the teacher's the wait grows."""
    server = Server(refusal(503, retry_after=formatdate(0, usegmt=True)))
    with pytest.raises(TeacherUnavailable):
        server.buy(give_up_after=10_000)
    assert sum(server.slept) > 20


@pytest.mark.parametrize("retry_after", ["9" * 400, "9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_wait_without_an_end_is_not_begun(retry_after: str) -> None:
    server = Server(refusal(429, kind="rate-limited", retry_after=retry_after))
    with pytest.raises(TeacherUnavailable) as raised:
        server.buy()
    assert (len(server.requests), server.slept) == (1, [])
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("retry_after", [None, "soon", "-1", "", "1e3", "nan", "Fri, 31 Dec", "\x001"])
def test_wait_without_a_readable_retry_after_is_short_at_first(retry_after: str | None) -> None:
    server = Server(refusal(503, retry_after=retry_after), logits())
    server.buy()
    (slept,) = server.slept
    assert 0 < slept < 1


def test_retries_are_capped_in_count() -> None:
    """However little time they take; no single wait of ours is longer than ten seconds."""
    server = Server(refusal(503))
    with pytest.raises(TeacherUnavailable, match="503 because"):
        server.buy(give_up_after=10_000)
    assert len(server.requests) == 30
    assert max(server.slept) <= 10


@pytest.mark.parametrize(("retry_after", "give_up_after"), [("1000", 120.0), (None, 0.0), ("1", 0.5)])
def test_wait_beyond_the_time_allowed_is_not_begun(retry_after: str | None, give_up_after: float) -> None:
    server = Server(refusal(503, retry_after=retry_after))
    with pytest.raises(TeacherUnavailable):
        server.buy(give_up_after=give_up_after)
    assert len(server.requests) == 1
    assert server.slept == []


def test_exhausted_quota_is_not_retried() -> None:
    """Not even when a Retry-After comes with it."""
    server = Server(refusal(429, kind=problem.QUOTA_EXCEEDED, retry_after="1"))
    with pytest.raises(QuotaExhausted, match="429 because"):
        server.buy()
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [302, 400, 401, 402, 413, 415])
def test_refused_content_or_key_was_never_charged(status: int) -> None:
    server = Server(refusal(status))
    with pytest.raises(TeacherRefused, match=f"{status} because"):
        server.buy()
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [303, 304, 403, 422, 500, 501])
def test_other_statuses_leave_the_charge_unknown_and_are_not_retried(status: int) -> None:
    """Access withdrawn or a model replaced after an attempt that was charged: the purchase must stay open."""
    server = Server(refusal(status))
    with pytest.raises(TeacherError, match=f"{status} because") as raised:
        server.buy()
    assert not isinstance(raised.value, (TeacherRefused, TeacherUnavailable))
    assert len(server.requests) == 1


def test_output_that_the_key_may_not_see_was_never_charged() -> None:
    """On a first attempt, that is; an earlier one may have been charged under another policy."""
    with pytest.raises(TeacherRefused, match="403 because"):
        Server(refusal(403, kind=problem.OUTPUT_NOT_ALLOWED)).buy()
    with pytest.raises(TeacherError) as raised:
        Server(httpx.ReadTimeout("lost"), refusal(403, kind=problem.OUTPUT_NOT_ALLOWED)).buy()
    assert not isinstance(raised.value, TeacherRefused)


def test_lasting_connection_failure_says_what_to_check() -> None:
    server = Server(httpx.ConnectError("connection refused"))
    with pytest.raises(
        TeacherUnavailable, match=f"{URL}: .*connection refused.*is it running, and is teacher.url, or TEACHER_URL"
    ):
        server.buy()
    assert len(server.requests) > 1


def test_questions_are_retried_for_less_time_than_purchases() -> None:
    """Whoever asks for the price is waiting, and has nothing to lose; a purchase may have been charged."""
    server = Server(refusal(503, retry_after="15"))
    with server.teacher() as teacher, pytest.raises(TeacherUnavailable):
        teacher.describe()
    assert server.slept == []
    with pytest.raises(TeacherUnavailable):
        server.buy()
    assert len(server.slept) > 1


def test_every_retry_is_told_before_its_wait() -> None:
    server, told = Server(refusal(503, retry_after="7"), logits()), list[str]()
    server.buy(on_retry=told.append)
    (message,) = told
    assert message.startswith(f"{URL}: 503 because; next attempt in 7.")


@pytest.mark.parametrize(
    "error",
    [httpx.UnsupportedProtocol("missing an 'http://' protocol"), httpx.LocalProtocolError("illegal header value")],
    ids=["URL without a scheme", "line break in the API key"],
)
def test_request_that_cannot_be_sent_is_not_retried(error: Exception) -> None:
    """No wait mends TEACHER_URL=localhost:8000, so the command must not sit there."""
    server = Server(error)
    with pytest.raises(TeacherError, match=URL):
        server.buy()
    assert server.slept == []


def test_refused_repetition_does_not_claim_that_nothing_was_charged() -> None:
    """The first attempt may have been charged and its answer lost."""
    with pytest.raises(TeacherError) as raised:
        Server(httpx.ReadTimeout("lost"), refusal(400)).buy()
    assert not isinstance(raised.value, TeacherRefused)


def test_payer_tells_accounts_apart_and_gives_no_key_away() -> None:
    payers = [Server(logits()).sender(api_key=key).credential for key in ("secret", "secret", "other", None)]
    assert payers[0] == payers[1]
    assert len(set(payers)) == 3
    assert all(len(payer) <= 16 and "secret" not in payer for payer in payers)


def test_answer_that_is_kept_no_more_is_told_from_other_failures() -> None:
    """It was charged, so it is no refusal; and no 410 of any other kind."""
    server = Server(refusal(410, kind=problem.ANSWER_EXPIRED))
    with pytest.raises(AnswerExpired, match="410 because") as raised:
        server.buy()
    assert not isinstance(raised.value, (TeacherRefused, TeacherUnavailable))
    assert len(server.requests) == 1
    with pytest.raises(TeacherError) as other:
        Server(refusal(410)).buy()
    assert not isinstance(other.value, AnswerExpired)
