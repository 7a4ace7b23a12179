"""A load client that costs little, since it shares the processors with the server that it measures.

Every connection sends a prepared request, waits for the answer, and sends the next: `concurrency` requests are in
flight at any time. One thread, plain sockets; of an answer only the head is read, its body is counted. Run it as a
process of its own (`run_load`), so that the server and the client share no interpreter.

Invariant: an answer other than 200, or a connection that ends, ends the load; no figure is made of failures.
"""

import argparse
import json
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ANSWER_SECONDS = 120
"""How long the client waits while nothing at all arrives."""
_READ_BYTES = 1 << 18


@dataclass(frozen=True)
class Request:
    """What is sent: `POST` to a path, with a body of so many images."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    images: int

    def head(self) -> bytes:
        """The HTTP head without the blank line that ends it, so that a header may still follow."""
        lines = [f"POST {self.path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(self.body)}"]
        return "".join(
            f"{line}\r\n" for line in [*lines, *(f"{name}: {value}" for name, value in self.headers)]
        ).encode()


@dataclass(frozen=True)
class Load:
    """How much is sent: until either bound is reached; then what is in flight is awaited."""

    concurrency: int
    seconds: float
    requests: int = sys.maxsize
    warm_up_seconds: float = 0.0
    key_every: int = 0
    """Every so many requests carry an Idempotency-Key of their own; 0: none does."""


@dataclass(frozen=True)
class Answered:
    """What came of a load; the latencies are those of a request, from its first byte sent to its last received."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


def run_load(port: int, request: Request, load: Load) -> Answered:
    """Send a load from a process of its own.

    Raises:
        RuntimeError: the server refused or broke off; the message holds its answer.
    """
    with tempfile.NamedTemporaryFile() as body:
        body.write(request.body)
        body.flush()
        task = {"port": port, "request": {**asdict(request), "body": body.name}, "load": asdict(load)}
        sent = subprocess.run(
            [sys.executable, "-m", __name__, json.dumps(task)], capture_output=True, text=True, check=False
        )
    if sent.returncode != 0:
        raise RuntimeError(f"the load on port {port} broke off: {sent.stderr.strip()[-2000:]}")
    return Answered(**json.loads(sent.stdout))


def send(port: int, request: Request, load: Load) -> Answered:
    """Send a load from this thread; what `run_load` does in its process."""
    with selectors.DefaultSelector() as selector:
        connections = [_Connection(port, request, index, load.key_every) for index in range(load.concurrency)]
        try:
            for connection in connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            if load.warm_up_seconds:
                _drive(selector, connections, load.warm_up_seconds, sys.maxsize)
            return _drive(selector, connections, load.seconds, load.requests)
        finally:
            for connection in connections:
                connection.socket.close()


def _drive(
    selector: selectors.BaseSelector, connections: Sequence["_Connection"], seconds: float, requests: int
) -> Answered:
    now: Callable[[], float] = time.perf_counter
    latencies: list[float] = []
    started = now()
    deadline = started + seconds
    in_flight = 0
    for connection in connections[:requests]:
        connection.begin(now())
        _watch(selector, connection)
        in_flight += 1
    begun = in_flight
    while in_flight:
        ready = selector.select(ANSWER_SECONDS)
        if not ready:
            raise TimeoutError(f"no answer for {ANSWER_SECONDS} s to {in_flight} requests")
        for key, events in ready:
            connection = key.data
            if events & selectors.EVENT_WRITE:
                connection.write()
                _watch(selector, connection)
            if not events & selectors.EVENT_READ or not connection.read():
                continue
            at = now()
            latencies.append(at - connection.begun_at)
            if at < deadline and begun < requests:
                begun += 1
                connection.begin(at)
                _watch(selector, connection)
            else:
                in_flight -= 1
    seconds = now() - started
    latencies.sort()
    return Answered(len(latencies), seconds, 1000 * _quantile(latencies, 0.5), 1000 * _quantile(latencies, 0.99))


def _watch(selector: selectors.BaseSelector, connection: "_Connection") -> None:
    """Ask for room to write only while something is left to write."""
    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
    if events != connection.watched:
        connection.watched = events
        selector.modify(connection.socket, events, connection)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Connection:
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, port: int, request: Request, index: int, key_every: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.begun_at = 0.0
        self.unsent: list[memoryview] = []
        self.watched = selectors.EVENT_READ
        self._head, self._body = request.head(), request.body
        self._key_prefix = f"{time.time_ns():x}-{index}"
        self._key_every = key_every
        self._sent = 0
        self._answer = bytearray()
        self._missing = -1
        self._refused = False

    def begin(self, at: float) -> None:
        """Send the next request, or as much of it as the socket takes."""
        self.begun_at = at
        self._answer.clear()
        self._missing = -1
        self._sent += 1
        has_key = self._key_every and self._sent % self._key_every == 0
        end = b"Idempotency-Key: %s-%d\r\n\r\n" % (self._key_prefix.encode(), self._sent) if has_key else b"\r\n"
        self.unsent = [memoryview(self._head + end), memoryview(self._body)]
        self.write()

    def write(self) -> None:
        """Send what is unsent, or as much of it as the socket takes."""
        while self.unsent:
            try:
                sent = self.socket.sendmsg(self.unsent)
            except BlockingIOError:
                return
            while self.unsent and sent >= len(self.unsent[0]):
                sent -= len(self.unsent.pop(0))
            if self.unsent:
                self.unsent[0] = self.unsent[0][sent:]

    def read(self) -> bool:
        """Take what has arrived; whether the answer is complete."""
        try:
            chunk = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            raise ConnectionError(f"the server hung up; it had sent {bytes(self._answer[:500])!r}")
        if self._missing < 0:
            self._answer += chunk
            end = self._answer.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._missing = _content_length(bytes(self._answer[:end])) + end + 4 - len(self._answer)
            self._refused = not self._answer.startswith(b"HTTP/1.1 200")
        else:
            self._missing -= len(chunk)
            if self._refused:
                self._answer += chunk
        if self._missing == 0 and self._refused:
            raise ConnectionError(f"expected 200, got {bytes(self._answer[:2000])!r}")
        return self._missing == 0


def _content_length(head: bytes) -> int:
    found = head.lower().find(b"\r\ncontent-length:")
    if found < 0:
        raise ConnectionError(f"expected a Content-Length, got {head!r}")
    return int(head[found + 17 :].split(b"\r\n", 1)[0])


def _main() -> None:
    parser = argparse.ArgumentParser(description="Send one load; the task comes as JSON from `run_load`.")
    parser.add_argument("task", type=json.loads)
    task = parser.parse_args().task
    request = Request(**{**task["request"], "body": Path(task["request"]["body"]).read_bytes()})
    print(json.dumps(asdict(send(task["port"], request, Load(**task["load"])))))


if __name__ == "__main__":
    _main()
