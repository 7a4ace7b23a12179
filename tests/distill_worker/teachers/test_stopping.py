"""A teacher that is stopped: what waits goes home, what is in flight lands."""

import threading

import httpx
import numpy as np
import pytest

from distill_worker.config.teacher_address import LabelledScoresAddress, OpenInferenceAddress, TeacherAddress
from distill_worker.errors import TeacherStopped, TeacherUnavailable
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.open_teacher import teacher_at
from distill_worker.teachers.pace.pacer import Pacer, Stopped, Turn
from distill_worker.teachers.pace.rate_limit_headers import Allowance, Limits
from tests.distill_worker.teachers.scripted_server import DESCRIPTION, URL, Answer, Server, logits, refusal
from tests.endurance import HANG_SECONDS


@pytest.mark.parametrize("waits_for", ["room", "a limit"])
def test_whoever_waits_for_a_turn_is_told_and_what_is_in_flight_ends(waits_for: str) -> None:
    """With real threads: the first in line and the one behind."""
    pacer = Pacer(1 if waits_for == "room" else 8, 1000)
    flying = pacer.begin(1)
    if waits_for == "a limit":
        pacer.end(pacer.begin(1), Limits((Allowance("samples", 0, None, 1, 60, refills_evenly=True),)))
    told: list[Exception | Turn] = []

    def ask() -> None:
        try:
            told.append(pacer.begin(1))
        except Stopped as stopped:
            told.append(stopped)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    pacer.stop()
    for thread in threads:
        thread.join(timeout=HANG_SECONDS)
    assert [type(one) for one in told] == [Stopped, Stopped]
    pacer.end(flying)


def test_nothing_that_costs_is_sent_any_more() -> None:
    """Questions are: they cost nothing, and what is in flight may need one."""
    server = Server(httpx.Response(200, json={}))
    with server.sender() as sender:
        sender.stop()
        with pytest.raises(TeacherStopped, match=URL) as raised:
            sender.buy("/infer", samples=2, repeats_are_free=True)
        assert raised.value.unpaid
        assert server.requests == []
        assert server.slept == []
        assert sender.json("/v2") == {}


@pytest.mark.parametrize(
    ("failure", "unpaid"), [(refusal(429, retry_after="1"), True), (httpx.ReadTimeout("slow"), False)]
)
def test_an_attempt_that_failed_before_is_not_repeated_and_stays_uncertain(failure: Answer, unpaid: bool) -> None:
    """Stopped while it waits to try again."""
    server = Server(failure, logits())
    with server.sender() as sender:
        sender._sleep = lambda _: sender.stop()
        with pytest.raises(TeacherStopped) as raised:
            sender.buy("/infer", samples=2, repeats_are_free=True)
    assert raised.value.unpaid is unpaid
    assert len(server.requests) == 1


def test_a_failure_while_it_stops_is_told_as_it_is() -> None:
    """What was in flight came back with it: it is not tried again, and not hidden."""

    def fail(_: httpx.Request) -> httpx.Response:
        sender.stop()
        return refusal(503)

    told: list[str] = []
    sender = Sender(
        URL,
        api_key=None,
        timeout_seconds=5,
        give_up_after_seconds=100,
        on_retry=told.append,
        transport=httpx.MockTransport(fail),
    )
    with sender, pytest.raises(TeacherUnavailable, match="503") as raised:
        sender.buy("/infer", samples=2, repeats_are_free=True)
    assert not isinstance(raised.value, TeacherStopped)
    assert told == []


def test_waiting_to_try_again_ends() -> None:
    """By a real wait, of a minute."""
    tries = threading.Event()
    server = Server(refusal(429, retry_after="60"))
    sender = Sender(
        URL,
        api_key=None,
        timeout_seconds=5,
        give_up_after_seconds=100,
        on_retry=lambda _: tries.set(),
        transport=httpx.MockTransport(server),
    )
    told: list[Exception] = []

    def ask() -> None:
        with pytest.raises(TeacherStopped) as raised:
            sender.buy("/infer", samples=2, repeats_are_free=True)
        told.append(raised.value)

    with sender:
        thread = threading.Thread(target=ask)
        thread.start()
        tries.wait(timeout=HANG_SECONDS)
        sender.stop()
        thread.join(timeout=HANG_SECONDS)
    assert len(told) == 1


@pytest.mark.parametrize(
    "address",
    [
        OpenInferenceAddress(give_up_after_seconds=0),
        LabelledScoresAddress(labels={"a": 0, "b": 1}, give_up_after_seconds=0),
    ],
    ids=lambda address: address.protocol,
)
def test_teachers_of_both_protocols_stop(address: TeacherAddress) -> None:
    """At an address where nobody listens: what was sent would fail otherwise."""
    image = np.zeros((1, 1, 2, 2), np.uint8)
    with teacher_at(address, url="http://127.0.0.1:1", api_key=None) as teacher:
        teacher.stop()
        with pytest.raises(TeacherStopped):
            teacher.buy(image, description=DESCRIPTION, idempotency_key="k1", outputs=("top_k:2",))
