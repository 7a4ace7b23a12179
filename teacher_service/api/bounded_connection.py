"""One HTTP connection, whose client may neither send a request's head without end nor take for ever over it.

uvicorn bounds neither: headers without end would be kept in memory, and a client that dribbles them keeps its
connection. A body has bounds of its own (`routes/body.py`).
"""

import asyncio
import json
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from teacher_service.errors.service_errors import HeadTooLarge, HeadTooSlow, ServiceError

MAX_HEAD_BYTES: Final = 32 * 1024
"""Of a request line with its headers."""
HEAD_SECONDS: Final = 10
"""How long a head may take to arrive, from its first byte on or from when the connection was made."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's, with bounds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._ended = False
        self._asked = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take no more of a head than there may be of one."""
        while data and not self.transport.is_closing():
            taken = MAX_HEAD_BYTES - self._head_bytes if self._in_head else len(data)
            part, data = data[:taken], data[taken:]
            if self._in_head:
                self._head_bytes += len(part)
            self._ended = False
            super().data_received(part)
            if not self._in_head or self._ended:
                continue
            if self._head_bytes >= MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(MAX_HEAD_BYTES))
            elif self._patience is None:
                self._wait()

    def on_headers_complete(self) -> None:
        """What follows is a body."""
        self._in_head, self._asked = False, True
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What follows is the next head."""
        super().on_message_complete()
        self._in_head, self._head_bytes, self._ended = True, 0, True

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        if self._asked and not self.cycle.response_complete:
            self._wait()  # the answer to an earlier request is still on its way
        else:
            self._refuse(HeadTooSlow(HEAD_SECONDS))

    def _refuse(self, refusal: ServiceError) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        content = json.dumps(refusal.document()).encode()
        fields = {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(content)),
            **refusal.headers(),
        }
        lines = [f"HTTP/1.1 {refusal.status} {refusal.document()['title']}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + content)
        self.transport.close()
