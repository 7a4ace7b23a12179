"""Every hostile request gets its refusal, soon, in bounded memory, for nothing; and the next good one an answer."""

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.asking import wait_until
from tests.end_to_end.conftest import StartService
from tests.end_to_end.hostile_cases import ANSWERED, CASES
from tests.end_to_end.hostile_requests import CLOSED, INFER, KEY, Case, good, good_content
from tests.end_to_end.processes import RunningService
from tests.endurance import ENDURANCE, HANG_SECONDS, record

pytestmark = [pytest.mark.alone] if ENDURANCE else []
SECONDS = 5.0
"""How long a refusal may take, in an endurance run."""
MEBIBYTES = 400
"""What a request of at most 64 MiB may take while it is read, parsed and refused."""
SLOW_SECONDS = 1


def test_hostile_requests_are_refused_soon_in_little_memory_and_for_nothing(one_service: RunningService) -> None:
    service = one_service
    key = _new_key(service, 10_000)
    answered = 0
    wrong: list[str] = []
    taken, grown = [], []
    assert _status(service, good(), key) == 200
    with _watched(service) as stalls:
        for case in CASES:
            request, before = case.request(), _forget_peak(service)
            started = time.monotonic()
            status = _status(service, request, key)
            taken.append(time.monotonic() - started)
            grown.append(_memory(service, "VmHWM") - before)
            answered += 1
            if status not in case.statuses:
                wrong.append(f"{case.name}: got {status}")
            if grown[-1] > MEBIBYTES or (ENDURANCE and taken[-1] > SECONDS):
                wrong.append(f"{case.name}: took {taken[-1]:.2f} s and {grown[-1]:.0f} MiB")
            if (after := _status(service, good(), key)) != 200:
                wrong.append(f"{case.name}: the next request got {after}")
    slowest, largest = CASES[taken.index(max(taken))].name, CASES[grown.index(max(grown))].name
    print(f"\n{len(CASES)} cases; slowest {slowest!r}, {max(taken):.2f} s; largest {largest!r}, {max(grown):.0f} MiB")
    record("hostile", "requests_refused", [len(CASES)], unit="cases", better="higher", target=40)
    record("hostile", "slowest_refusal", [max(taken)], unit="s", better="lower", target=SECONDS)
    record("hostile", "largest_growth", [max(grown)], unit="MiB", better="lower", target=MEBIBYTES)
    record("hostile", "longest_wait_of_another_client", [max(stalls)], unit="s", better="lower", target=0.5)
    assert not wrong, "\n".join(wrong)
    assert not ENDURANCE or max(stalls) < SECONDS, "nor does another client wait longer"
    assert service.quota(key)["used"] == answered + 1, "the good ones, and nothing else"
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case.name)
def test_request_that_only_looks_hostile_is_answered(one_service: RunningService, case: Case) -> None:
    service = one_service
    key, before = _new_key(service, 1), _forget_peak(service)
    assert _status(service, case.request(), key) in case.statuses
    assert _memory(service, "VmHWM") - before < MEBIBYTES / 4, "nothing was unpacked but pixels"
    assert service.quota(key)["used"] == 1


def test_slow_client_is_told_so_and_keeps_nobody_waiting(start_service: StartService) -> None:
    """Headers without end, a body that never comes and one that dribbles: 408 each, and the connection ends."""
    service = start_service(TEACHER_BODY_TIMEOUT_SECONDS=str(SLOW_SECONDS))
    key = _new_key(service, 1)
    content = good_content()
    started = time.monotonic()
    head = f"POST {INFER} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(content)}\r\n"
    never = _connect(service, head.encode() + b"\r\n")
    dribbled = _connect(service, head.encode() + b"\r\n")
    headers = _connect(service, head.encode())
    silent = _connect(service, b"")
    dribble = threading.Thread(target=_dribble, args=(dribbled, content))
    dribble.start()
    for connection in (never, dribbled):
        assert _read_status(connection) == 408
        assert time.monotonic() - started >= SLOW_SECONDS
    dribble.join()
    for connection in (headers, silent):
        assert _read_status(connection) == 408
    wait_until(lambda: _status(service, good(), key) == 200)  # 408 if the machine takes a second for it
    assert service.quota(key)["used"] == 1


def _new_key(service: RunningService, quota: int) -> str:
    return service.new_key(f"stranger {secrets.token_hex(4)}", quota).token


def _dribble(connection: socket.socket, content: bytes) -> None:
    try:
        for byte in content:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
    except OSError:
        return


def _connect(service: RunningService, start: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=HANG_SECONDS)
    connection.sendall(start)
    return connection


def _status(service: RunningService, request: bytes, key: str) -> int:
    connection = _connect(service, b"")
    with suppress(OSError):  # it may be refused before all of it is sent
        connection.sendall(request.replace(KEY.encode(), key.encode()))
    return _read_status(connection)


def _read_status(connection: socket.socket) -> int:
    """The status of the answer, once the connection has ended; CLOSED without an answer."""
    answer = bytearray()
    with connection, suppress(ConnectionError, TimeoutError):
        while chunk := connection.recv(65_536):
            answer += chunk
    final = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    return int(final.split(b" ", 2)[1]) if final else CLOSED


@contextmanager
def _watched(service: RunningService) -> Iterator[list[float]]:
    """How long each request of another client took, which asks one after the other for what costs nothing."""
    seconds = [0.0]
    done = threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=service.url, timeout=HANG_SECONDS) as client:
            while not done.wait(0.02):
                started = time.monotonic()
                assert client.get("/v2").status_code == 200
                seconds.append(time.monotonic() - started)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seconds
    finally:
        done.set()
        watcher.join()


def _forget_peak(service: RunningService) -> float:
    """The memory that the process holds now; its peak is counted anew."""
    assert service.process is not None
    Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")
    return _memory(service, "VmRSS")


def _memory(service: RunningService, name: str) -> float:
    assert service.process is not None
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))
