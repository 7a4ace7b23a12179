"""A running service whose request is cancelled, times out or breaks at every place where it waits.

Afterwards nothing is held, it was charged at most once, and all that was not charged can be spent.
"""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.asking import ask, outcome, wait_until
from tests.end_to_end.conftest import StartService
from tests.end_to_end.faulty_service import ERRORS, WHENS
from tests.end_to_end.processes import RunningService, http

LEAST_SUSPENSIONS = 3
"""The ledger, the model, and the client's own."""


@pytest.fixture
def faulty(start_service: StartService, ledger_place: Path | str) -> RunningService:
    """A service that interrupts whatever request asks for it."""
    return start_service(database=ledger_place, module="tests.end_to_end.faulty_service", TEACHER_MAX_BATCH_SIZE="8")


def test_request_interrupted_anywhere_holds_nothing_and_is_charged_at_most_once(faulty: RunningService) -> None:
    """Each key is worth two requests, one at a time, and has to remain so."""
    for error in ERRORS:
        for when in WHENS:
            at = 0
            while _interrupt(faulty, at, error, when):
                at += 1
            assert at >= LEAST_SUSPENSIONS, (error, when)


def _interrupt(service: RunningService, at: int, error: str, when: str) -> bool:
    """Whether the request was interrupted there: False when it has no such place."""
    key = service.new_key(f"{error} {when} {at}", 4, max_concurrent=1).token
    before = _interruptions(service)["happened"]
    headers = {"X-Interrupt-At": str(at), "X-Interrupt-With": error, "X-Interrupt-When": when}
    try:
        first = ask(service, key, 2, "first", headers).status_code
    except httpx.TransportError:  # it broke off
        first = 0
    wait_until(lambda: bool(_interruptions(service)["idle"]))
    quota = service.quota(key)
    assert (quota["reserved"], quota["in_flight"]) == (0, 0), (at, error, when)
    assert quota["used"] in (0, 2), (at, error, when)
    if first == 200:
        assert quota["used"] == 2
    answers = [outcome(ask(service, key, 2, name)) for name in ("first", "second", "third")]
    assert answers[0] == ("replayed" if quota["used"] else "answered"), (at, error, when)
    assert answers[1:] == ["answered", "quota-exceeded"], (at, error, when)
    assert service.quota(key)["used"] == 4
    return bool(_interruptions(service)["happened"] > before)


def _interruptions(service: RunningService) -> dict[str, Any]:
    told: dict[str, Any] = http().get(f"{service.url}/interruptions").json()
    return told
