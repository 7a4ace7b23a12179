"""Clients that hang up and services that are told to stop: what was admitted is answered, charged once, and kept."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx
import pytest

from tests.end_to_end.asking import INFER, ask, body, outcome, paying, wait_until
from tests.end_to_end.conftest import GatedService, StartService
from tests.end_to_end.processes import RunningService
from tests.endurance import HANG_SECONDS
from tests.teacher_service.ledger_file import rows

SAMPLES = 5
BODY = body(SAMPLES)


@pytest.mark.parametrize("told", [(signal.SIGTERM,), (signal.SIGHUP, signal.SIGHUP)], ids=["SIGTERM", "SIGHUP twice"])
def test_service_that_is_told_to_stop_answers_what_it_admitted_and_takes_no_more(
    gated: GatedService, told: tuple[signal.Signals, ...]
) -> None:
    """With eight queries in flight: all are answered and charged; meanwhile it says that it is not ready.

    A terminal that is closed sends SIGHUP, and the shell in it another.
    """
    service = gated.service
    api_key = service.create_key("stopped", quota=1000)
    assert service.process is not None
    gated.shut()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(_post, service, api_key) for _ in range(8)]
        _wait_for_holds(service, api_key, 8 * SAMPLES)
        for number in told:
            os.kill(service.pid, number)
            wait_until(lambda: not service.is_ready())
        late = ask(service, api_key, SAMPLES)
        assert (late.status_code, outcome(late)) == (503, "draining")
        assert late.headers["retry-after"]
        gated.open()
        assert [answer.result() for answer in answers] == [200] * 8
    service.process.join(HANG_SECONDS)
    assert service.process.exitcode == 0
    service.start()
    quota = service.quota(api_key)
    assert (quota["used"], quota["reserved"]) == (8 * SAMPLES, 0)


def test_service_does_not_wait_for_ever_when_told_to_stop(start_service: StartService) -> None:
    """It ends though a client holds a connection with half a request, for which the service would wait an hour."""
    service = start_service(TEACHER_BODY_TIMEOUT_SECONDS="3600")
    api_key = service.create_key("half", quota=1000)
    with _send(service, paying(api_key), BODY.content[:40]):
        assert service.process is not None
        os.kill(service.pid, signal.SIGTERM)
        service.process.join(HANG_SECONDS)
        assert service.process.exitcode == 0


def test_client_that_hangs_up_while_the_model_runs_is_charged_once_and_can_replay(gated: GatedService) -> None:
    """The log has its row, and what is stored is what the replay gives."""
    service = gated.service
    key = service.new_key("gone", 1000)
    gated.shut()
    with _send(service, paying(key.token, "once"), BODY.content):
        _wait_for_holds(service, key.token, SAMPLES)
        gated.wait_until_reached()
    gated.open()
    wait_until(lambda: not service.quota(key.token)["reserved"])
    assert service.quota(key.token)["used"] == SAMPLES
    [(samples, status, digest)] = rows(
        service.ledger, "SELECT samples, status, answer_sha256 FROM queries WHERE key_id = ?", key.id
    )
    assert (samples, status) == (SAMPLES, "settled")
    replay = ask(service, key.token, SAMPLES, "once")
    assert outcome(replay) == "replayed"
    assert sha256(replay.content).hexdigest() == digest
    assert service.quota(key.token)["used"] == SAMPLES


def test_client_that_hangs_up_before_the_model_took_its_images_pays_nothing(gated: GatedService) -> None:
    """Its hold is given back while the model still works for somebody else."""
    service = gated.service
    api_key = service.create_key("gone", quota=1000)
    gated.shut()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_post, service, api_key)
        gated.wait_until_reached()
        with _send(service, paying(api_key), BODY.content):
            _wait_for_holds(service, api_key, 2 * SAMPLES)
        _wait_for_holds(service, api_key, SAMPLES)
        gated.open()
        assert first.result() == 200
    quota = service.quota(api_key)
    assert (quota["used"], quota["reserved"]) == (SAMPLES, 0)


def test_client_that_hangs_up_while_sending_costs_nothing(start_service: StartService) -> None:
    """Half a body is no request, and no traceback in the log either."""
    service = start_service()
    api_key = service.create_key("half", quota=1000)
    _send(service, paying(api_key), BODY.content[:40]).close()
    quota = service.quota(api_key)
    assert (quota["used"], quota["reserved"]) == (0, 0)
    assert "Traceback" not in service.log.read_text()


def _post(service: RunningService, api_key: str) -> int:
    """The answer's status; 0 when the service was already gone."""
    try:
        return ask(service, api_key, SAMPLES).status_code
    except httpx.TransportError:
        return 0


def _send(service: RunningService, headers: dict[str, str], content: bytes) -> socket.socket:
    """A connection on which a request was sent, of which perhaps not all."""
    lines = [f"POST {INFER} HTTP/1.1", "Host: test", f"Content-Length: {len(BODY.content)}"]
    lines += [f"{name}: {value}" for name, value in {**BODY.headers, **headers}.items()]
    connection = socket.create_connection(("127.0.0.1", service.port))
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)
    return connection


def _wait_for_holds(service: RunningService, api_key: str, samples: int) -> None:
    wait_until(lambda: bool(service.quota(api_key)["reserved"] == samples))
