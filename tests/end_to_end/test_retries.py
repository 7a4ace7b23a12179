"""One operation tried again and again at two services on one ledger: one charge, one log row, the same bytes."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.asking import ask, outcome
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService
from tests.teacher_service.ledger_file import rows

SAMPLES = 3
RETRIES = 10


@pytest.fixture
def services(start_service: StartService, ledger_place: Path | str) -> list[RunningService]:
    """Two, whose model takes long enough for all retries to meet."""
    return [start_service(database=ledger_place, SECONDS_A_PASS="0.2") for _ in range(2)]


@pytest.mark.parametrize("at_once", [RETRIES, 1], ids=["concurrent", "in sequence"])
def test_operation_retried_10_times_is_charged_once_and_answered_alike(
    services: list[RunningService], at_once: int
) -> None:
    """The quota pays for it once, so that not even for a moment can it be held twice."""
    key = services[0].new_key("retrying", SAMPLES, max_concurrent=1)
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(lambda n: _ask_until_answered(services[n % 2], key.token), range(RETRIES)))
    assert sorted(outcome(answer) for answer in answers) == ["answered", *["replayed"] * (RETRIES - 1)]
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["inference-header-content-length"] for answer in answers}) == 1
    place = services[0].ledger
    assert rows(place, "SELECT used, reserved, in_flight FROM api_keys WHERE id = ?", key.id) == [(SAMPLES, 0, 0)]
    assert rows(place, "SELECT samples, status FROM queries WHERE key_id = ?", key.id) == [(SAMPLES, "settled")]
    assert rows(place, "SELECT queries, samples FROM daily_usage WHERE key_id = ?", key.id) == [(1, SAMPLES)]
    [(stored,)] = rows(place, "SELECT content FROM answers WHERE key_id = ?", key.id)
    assert stored == answers[0].content
    for service in services:
        assert outcome(ask(service, key.token, 1, "another")) == "quota-exceeded"


def _ask_until_answered(service: RunningService, api_key: str) -> httpx.Response:
    """As a client does: while it is being answered elsewhere, it comes back when it is told to."""
    while outcome(answer := ask(service, api_key, SAMPLES, "the same")) == "request-in-progress":
        assert answer.status_code == 409
        time.sleep(float(answer.headers["retry-after"]) / 10)
    return answer
