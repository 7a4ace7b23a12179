"""The HTTP server, which stops without losing an admitted query.

On SIGTERM, SIGINT or SIGHUP the service becomes not ready and rejects new queries. It finishes those in flight, for at
most `drain_seconds`; then the process exits with status 0. The end of an input that it was given is such a signal, too.
A second SIGTERM or SIGINT stops it at once; a second SIGHUP does not, because a shell and its terminal may both send
one.
"""

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from teacher_service.api.bounded_connection import BoundedConnection

_LAST_BYTES_SECONDS: Final = 5
"""Maximum time to send responses that are ready."""
_TURN_SECONDS: Final = 20e-6
"""Interval at which Python switches threads. The model's thread waits for the interpreter after each of its hundreds of
operations: at Python's default of 5 ms, a busy event loop slows the model down twentyfold.
"""
_log = structlog.get_logger(__name__)


def serve_on(listener: socket.socket, app: FastAPI, drain_seconds: float, until_end_of: int | None = None) -> None:
    """Serve until a signal arrives, or the input of a file descriptor ends, and the queries in flight are finished."""
    sys.setswitchinterval(_TURN_SECONDS)
    server = DrainingServer(app, drain_seconds, on_start=_keep_what_is_loaded)
    if until_end_of is not None:
        threading.Thread(target=_drain_at_end, args=(server, until_end_of), daemon=True).start()
    server.run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on this address; port 0 takes any free port.

    Raises:
        OSError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only on sockets that name the protocol; left on, it delays every response
    # until the client's delayed acknowledgement, some 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def address(listener: socket.socket) -> str:
    """The URL at which the socket listens."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _drain_at_end(server: "DrainingServer", descriptor: int) -> None:
    with suppress(OSError):  # such as a terminal that is gone, which is an end too
        while os.read(descriptor, 4096):
            pass
    server.drain()


def _keep_what_is_loaded() -> None:
    """Objects loaded so far stay alive; a garbage collection through all of them would stall every query."""
    gc.collect()
    gc.freeze()


class DrainingServer(uvicorn.Server):
    """A server that finishes the queries in flight before it ends."""

    def __init__(self, app: FastAPI, drain_seconds: float, on_start: Callable[[], None]) -> None:
        """Describe the server; `run` starts it, and `on_start` is called when it answers."""
        config = uvicorn.Config(
            app,
            http=BoundedConnection,
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_LAST_BYTES_SECONDS,
        )
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds
        self._on_start = on_start
        self._deadline: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._on_start()

    def drain(self) -> None:
        """Begin to end, as a first signal does; from any thread."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._drain_seconds

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGHUP, too, unless it is ignored."""
        with super().capture_signals():
            in_main_thread = threading.current_thread() is threading.main_thread()
            if not in_main_thread or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # ignored under `nohup`
                yield
                return
            before = signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain on a first signal; end at once on a second one."""
        if self._deadline is None:
            self.drain()
        elif sig != signal.SIGHUP:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether the server ends now."""
        if self._deadline is not None:
            query_runner = self._app.state.service.query_runner
            if not query_runner.is_draining:
                query_runner.stop_admitting()
                _log.info("draining", seconds=self._drain_seconds)
            if query_runner.is_idle or time.monotonic() >= self._deadline:
                self.should_exit = True
        return await super().on_tick(counter)
