"""The load client, against a real server that notes what it is sent."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import pytest

from benchmarks.service.load import Load, Request, run_load, send

REQUEST = Request("/predict", (("X-Name", "value"),), b"x" * 300_000, images=1)


class NotingServer(ThreadingHTTPServer):
    """Answers every POST, with `status`, and keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.bodies: list[bytes] = []
        self.keys: list[str | None] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.lock = Lock()


class _Handler(BaseHTTPRequestHandler):
    server: NotingServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        with self.server.lock:
            self.server.in_flight += 1
            self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.keys.append(self.headers["Idempotency-Key"])
            self.server.in_flight -= 1
        self.send_response(self.server.status)
        self.send_header("X-Not-The-Content-Length", "1")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[NotingServer]:
    """A server, running."""
    with NotingServer() as started:
        thread = Thread(target=started.serve_forever, args=(0.01,))
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def test_load_sends_whole_bodies_as_often_as_it_says(server: NotingServer) -> None:
    """Bodies larger than a socket's buffer arrive whole, and no request is left uncounted."""
    answered = send(server.server_port, REQUEST, Load(concurrency=4, seconds=60, requests=30))
    assert answered.requests == 30
    assert server.bodies == [REQUEST.body] * 30
    assert 1 <= server.most_in_flight <= 4
    assert 0 < answered.p50_ms <= answered.p99_ms <= 1000 * answered.seconds


def test_load_of_no_time_awaits_what_is_in_flight(server: NotingServer) -> None:
    answered = send(server.server_port, REQUEST, Load(concurrency=3, seconds=0))
    assert answered.requests == len(server.bodies) == 3


def test_every_third_request_carries_a_key_of_its_own(server: NotingServer) -> None:
    send(server.server_port, REQUEST, Load(concurrency=1, seconds=60, requests=6, key_every=3))
    keys = [key for key in server.keys if key is not None]
    assert [key is not None for key in server.keys] == [False, False, True, False, False, True]
    assert len(set(keys)) == 2


def test_refusal_ends_the_load(server: NotingServer) -> None:
    """Failures make no figure, and the message shows the answer; in a process of its own, too."""
    server.status = 503
    with pytest.raises(ConnectionError, match="503"):
        send(server.server_port, REQUEST, Load(concurrency=1, seconds=0))
    with pytest.raises(RuntimeError, match="503"):
        run_load(server.server_port, REQUEST, Load(concurrency=1, seconds=0))
