"""One HTTP connection, which bounds the size of a request's head (request line and headers) and its time to arrive.

uvicorn bounds neither: endless headers would fill the memory, and a slow client would keep its connection for ever.
`api/body.py` bounds the body.
"""

import asyncio
import json
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from teacher_service.errors.service_errors import HeadTooLarge, HeadTooSlow, ServiceError

MAX_HEAD_BYTES: Final = 32 * 1024
"""Maximum size of the request line and headers."""
HEAD_SECONDS: Final = 10
"""Maximum time for a head to arrive, from its first byte or from when the connection was made."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with bounds on the head."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._ended = False
        self._had_request = False
        self._timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout of the first head."""
        super().connection_made(transport)
        self._start_timeout()

    def data_received(self, data: bytes) -> None:
        """Parse the data; reject a head that exceeds its bound."""
        while data and not self.transport.is_closing():
            accepted = MAX_HEAD_BYTES - self._head_bytes if self._in_head else len(data)
            part, data = data[:accepted], data[accepted:]
            if self._in_head:
                self._head_bytes += len(part)
            self._ended = False
            super().data_received(part)
            if not self._in_head or self._ended:
                continue
            if self._head_bytes >= MAX_HEAD_BYTES:
                self._reject(HeadTooLarge(MAX_HEAD_BYTES))
            elif self._timeout is None:
                self._start_timeout()

    def on_headers_complete(self) -> None:
        """End of the head; the body follows."""
        self._in_head, self._had_request = False, True
        self._stop_timeout()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End of the body; the next head follows."""
        super().on_message_complete()
        self._in_head, self._head_bytes, self._ended = True, 0, True

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout."""
        self._stop_timeout()
        super().connection_lost(exc)

    def _start_timeout(self) -> None:
        self._timeout = self.loop.call_later(HEAD_SECONDS, self._time_out)

    def _stop_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _time_out(self) -> None:
        if self._had_request and not self.cycle.response_complete:
            self._start_timeout()  # an earlier request is still in flight
        else:
            self._reject(HeadTooSlow(HEAD_SECONDS))

    def _reject(self, error: ServiceError) -> None:
        self._stop_timeout()
        if self.transport.is_closing():
            return
        content = json.dumps(error.document()).encode()
        fields = {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(content)),
            **error.headers(),
        }
        lines = [f"HTTP/1.1 {error.status} {error.document()['title']}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + content)
        self.transport.close()
