"""Clients that hang up and services that are told to stop: what was admitted is answered, charged once, and kept."""

import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from shared import oip
from tests.end_to_end.conftest import GatedService, StartService
from tests.end_to_end.processes import RunningService

SAMPLES = 5
BODY = oip.encode_request({"images": np.zeros((SAMPLES, 1, 8, 8), np.uint8)}, outputs=["logits"])
PATH = "/v2/models/teacher/infer"


def test_service_that_is_told_to_stop_answers_what_it_admitted_and_takes_no_more(gated: GatedService) -> None:
    """SIGTERM with eight queries in flight: all are answered and charged; meanwhile it says that it is not ready."""
    service = gated.service
    api_key = service.create_key("stopped", quota=1000)
    assert service.process is not None
    assert service.process.pid is not None
    gated.shut()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(_post, service.url, _headers(api_key)) for _ in range(8)]
        _wait_for_holds(service, api_key, 8 * SAMPLES)
        os.kill(service.process.pid, signal.SIGTERM)
        _wait_until(lambda: httpx.get(f"{service.url}/v2/health/ready").status_code == 503)
        late = httpx.post(service.url + PATH, content=BODY.content, headers=_headers(api_key))
        assert (late.status_code, late.json()["type"]) == (503, "/problems/draining")
        assert late.headers["retry-after"]
        gated.open()
        assert [answer.result() for answer in answers] == [200] * 8
    service.process.join(30)
    assert service.process.exitcode == 0
    service.start()
    quota = service.quota(api_key)
    assert (quota["used"], quota["reserved"]) == (8 * SAMPLES, 0)


def test_service_does_not_wait_for_ever_when_told_to_stop(start_service: StartService) -> None:
    """It ends within seconds though a client holds a connection with half a request."""
    service = start_service()
    api_key = service.create_key("half", quota=1000)
    with _send(service, _headers(api_key), BODY.content[:40]):
        assert service.process is not None
        assert service.process.pid is not None
        os.kill(service.process.pid, signal.SIGTERM)
        service.process.join(15)
        assert service.process.exitcode == 0


def test_client_that_hangs_up_while_the_model_runs_is_charged_once_and_can_replay(gated: GatedService) -> None:
    service = gated.service
    api_key = service.create_key("gone", quota=1000)
    headers = {**_headers(api_key), "Idempotency-Key": "once"}
    gated.shut()
    with _send(service, headers, BODY.content):
        _wait_for_holds(service, api_key, SAMPLES)
        time.sleep(0.1)  # nobody else is there: the model takes the images within milliseconds of the hold
    gated.open()
    _wait_until(lambda: not service.quota(api_key)["reserved"])
    assert service.quota(api_key)["used"] == SAMPLES
    replay = httpx.post(service.url + PATH, content=BODY.content, headers=headers)
    assert replay.status_code == 200
    assert replay.headers["idempotency-replayed"] == "true"
    assert service.quota(api_key)["used"] == SAMPLES


def test_client_that_hangs_up_before_the_model_took_its_images_pays_nothing(gated: GatedService) -> None:
    """Its hold is given back while the model still works for somebody else."""
    service = gated.service
    api_key = service.create_key("gone", quota=1000)
    gated.shut()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_post, service.url, _headers(api_key))
        _wait_for_holds(service, api_key, SAMPLES)
        with _send(service, _headers(api_key), BODY.content):
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
    _send(service, _headers(api_key), BODY.content[:40]).close()
    quota = service.quota(api_key)
    assert (quota["used"], quota["reserved"]) == (0, 0)
    assert "Traceback" not in service.log.read_text()


def _headers(api_key: str) -> dict[str, str]:
    return {**BODY.headers, "Authorization": f"Bearer {api_key}"}


def _post(url: str, headers: dict[str, str]) -> int:
    """The answer's status; 0 when the service was already gone."""
    try:
        return httpx.post(url + PATH, content=BODY.content, headers=headers, timeout=30).status_code
    except httpx.TransportError:
        return 0


def _send(service: RunningService, headers: dict[str, str], content: bytes) -> socket.socket:
    """A connection on which a request was sent, of which perhaps not all."""
    lines = [f"POST {PATH} HTTP/1.1", "Host: test", f"Content-Length: {len(BODY.content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection = socket.create_connection(("127.0.0.1", service.port))
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)
    return connection


def _wait_for_holds(service: RunningService, api_key: str, samples: int) -> None:
    _wait_until(lambda: service.quota(api_key)["reserved"] == samples)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not happen within 10 s")
        time.sleep(0.01)
