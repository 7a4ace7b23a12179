"""The socket and the server on it, which stops without losing a query that it admitted.

On SIGTERM or SIGINT the service is no longer ready and refuses new queries; those on their way are answered, for up to
`drain_seconds`; then the process ends with status 0. A second signal ends it at once.
"""

import gc
import socket
import sys
import time
from types import FrameType
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from teacher_service.api.bounded_connection import BoundedConnection

_LAST_BYTES_SECONDS: Final = 5
"""How long answers that are ready may take to leave."""
_TURN_SECONDS: Final = 20e-6
"""How long one thread's Python runs while another's waits. The model asks for a turn after each of its hundreds of
operations: at Python's 5 ms, an event loop that is busy leaves it a twentieth of its speed.
"""
_log = structlog.get_logger(__name__)


def serve_on(listener: socket.socket, app: FastAPI, drain_seconds: float) -> None:
    """Serve until a signal comes and everything is done."""
    sys.setswitchinterval(_TURN_SECONDS)
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_LAST_BYTES_SECONDS,
    )
    _DrainingServer(config, app, drain_seconds).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there, on any free port where `port` is 0.

    Raises:
        OSError: it cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off only on sockets that name it; left on, it
    # holds every answer back for the client's delayed acknowledgement, some 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(2048)
    return listener


def address(listener: socket.socket) -> str:
    """Where it listens, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class _DrainingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds
        self._deadline: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What was loaded so far stays; to look through all of it for garbage would stop every query meanwhile.
        gc.collect()
        gc.freeze()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._drain_seconds
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._deadline is not None:
            desk = self._app.state.service.desk
            if not desk.is_draining:
                desk.stop_admitting()
                _log.info("draining", seconds=self._drain_seconds)
            if desk.is_idle or time.monotonic() >= self._deadline:
                self.should_exit = True
        return await super().on_tick(counter)
