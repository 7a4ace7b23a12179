"""What is between this machine and a teacher, by the error that a real attempt raises."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import httpx
import pytest

from distill_worker.errors import TeacherError, TeacherUnavailable
from distill_worker.teachers.http_client import try_connection
from distill_worker.teachers.obstacles import Obstacle, obstacle_of
from tests.distill_worker.teachers.scripted_server import OURS, Server

SECONDS = 0.3


@contextmanager
def _listening(reply: Callable[[socket.socket], object]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    reply(server.accept()[0])
                except OSError:
                    return

        Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _obstacle(*answers: httpx.Response | Exception) -> Obstacle:
    with Server(*answers).teacher() as teacher, pytest.raises(TeacherError) as error:
        teacher.describe()
    return obstacle_of(error.value)


@pytest.mark.parametrize(
    ("status", "obstacle"),
    [
        (401, Obstacle.API_KEY),
        (403, Obstacle.API_KEY),
        (404, Obstacle.PROTOCOL),
        (407, Obstacle.PROXY),
        (308, Obstacle.REDIRECT),
        (500, Obstacle.OTHER),
    ],
)
def test_status(status: int, obstacle: Obstacle) -> None:
    assert _obstacle(httpx.Response(status, headers={"Location": "http://other.test"})) is obstacle


def test_missing_model_is_not_a_missing_protocol() -> None:
    assert _obstacle(httpx.Response(200, json=OURS), httpx.Response(404)) is Obstacle.MODEL


@pytest.mark.parametrize("content", ["<title>Sign in</title>", "[]", "{"])
def test_answer_of_another_kind_is_another_protocol(content: str) -> None:
    assert _obstacle(httpx.Response(200, text=content)) is Obstacle.PROTOCOL


def test_connection_is_made_and_nothing_is_sent() -> None:
    received: list[bytes] = []

    def read(connection: socket.socket) -> None:
        with connection:
            received.append(connection.recv(100))

    with _listening(read) as port:
        try_connection(f"http://127.0.0.1:{port}/predict", timeout_seconds=30)
    assert received in ([], [b""])


def test_closed_port() -> None:
    with socket.socket() as taken:  # bound, and not listening: no other process gets the port
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(TeacherUnavailable, match="the teacher cannot be reached") as error:
            try_connection(f"http://127.0.0.1:{taken.getsockname()[1]}", timeout_seconds=30)
    assert obstacle_of(error.value) is Obstacle.CONNECTION_REJECTED


def test_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TeacherError) as error:
        try_connection("http://teacher.invalid", timeout_seconds=30)
    assert obstacle_of(error.value) is Obstacle.NAME


def test_server_that_speaks_no_tls() -> None:
    def reply(connection: socket.socket) -> None:
        with connection:
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with _listening(reply) as port, pytest.raises(TeacherError, match="expected TLS, got another protocol") as error:
        try_connection(f"https://127.0.0.1:{port}", timeout_seconds=30)
    assert obstacle_of(error.value) is Obstacle.NO_TLS


def test_handshake_that_never_ends() -> None:
    kept: list[socket.socket] = []
    with _listening(kept.append) as port, pytest.raises(TeacherError) as error:
        try_connection(f"https://127.0.0.1:{port}", timeout_seconds=SECONDS)
    for connection in kept:
        connection.close()
    assert obstacle_of(error.value) is Obstacle.TIMEOUT


def test_proxy_is_what_the_connection_goes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names a port where nothing listens, and the message names it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    with pytest.raises(TeacherError, match=r"through the proxy 127\.0\.0\.1:9 of HTTP_PROXY"):
        try_connection("http://teacher.invalid", timeout_seconds=30)
