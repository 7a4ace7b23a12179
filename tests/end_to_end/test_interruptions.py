"""Clients that hang up and services that are told to stop: what was admitted is answered, charged once, and kept."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from shared import oip
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService

SAMPLES = 5
BODY = oip.encode_request({"images": np.zeros((SAMPLES, 1, 8, 8), np.uint8)}, outputs=["logits"])
PATH = "/v2/models/teacher/infer"


def test_admitted_requests_are_answered_when_the_service_is_told_to_stop(start_service: StartService) -> None:
    """SIGTERM with eight requests in flight: exactly those that were answered are charged."""
    service = start_service(TEACHER_BATCH_TIMEOUT_SECONDS="1")
    api_key = service.create_key("stopped", quota=1000)
    assert service.process is not None
    assert service.process.pid is not None
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(_post, service.url, _headers(api_key)) for _ in range(8)]
        _wait_for_hold(service, api_key)
        os.kill(service.process.pid, signal.SIGTERM)
        answered = sum(answer.result() == 200 for answer in answers)
    service.process.join(30)
    assert service.process.exitcode is not None, "it stops by itself"
    assert answered > 0
    service.start()
    quota = service.quota(api_key)
    assert (quota["used"], quota["reserved"]) == (SAMPLES * answered, 0)


def test_client_that_hangs_up_while_the_model_runs_is_charged_once_and_can_replay(start_service: StartService) -> None:
    service = start_service(TEACHER_BATCH_TIMEOUT_SECONDS="0.5")
    api_key = service.create_key("gone", quota=1000)
    headers = {**_headers(api_key), "Idempotency-Key": "once"}
    with _send(service, headers, BODY.content):
        _wait_for_hold(service, api_key)
    while service.quota(api_key)["reserved"]:
        time.sleep(0.01)
    assert service.quota(api_key)["used"] == SAMPLES
    replay = httpx.post(service.url + PATH, content=BODY.content, headers=headers)
    assert replay.status_code == 200
    assert replay.headers["idempotency-replayed"] == "true"
    assert service.quota(api_key)["used"] == SAMPLES


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


def _wait_for_hold(service: RunningService, api_key: str) -> None:
    deadline = time.monotonic() + 10
    while service.quota(api_key)["reserved"] == 0:
        if time.monotonic() > deadline:
            pytest.fail("nothing was admitted")
