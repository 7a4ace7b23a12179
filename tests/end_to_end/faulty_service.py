"""The real service, which interrupts a request that asks for it: at its suspension X-Interrupt-At, counted from 0.

X-Interrupt-With says by which error, X-Interrupt-When whether it strikes `before` what is awaited there has happened,
or `after`. `GET /interruptions` says how many there were, and whether any query is still on its way.
"""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Final

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.end_to_end.own_services import serve

ERRORS: Final[dict[str, type[BaseException]]] = {
    error.__name__: error for error in (asyncio.CancelledError, TimeoutError, OSError)
}
WHENS: Final = ("before", "after")


class Interruptible:
    """Awaits `work`, and raises `error` in it at its suspension number `at`."""

    def __init__(self, work: Coroutine[Any, Any, None], at: int, error: BaseException, when: str = "before") -> None:
        self.happened = False
        self._work, self._at, self._error, self._when = work, at, error, when

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            awaited = self._work.send(None)
            for _ in range(self._at):
                yield awaited
                awaited = self._work.send(None)
            if self._when == "after":
                yield awaited
            self.happened = True
            awaited = self._work.throw(self._error)
            while True:
                yield awaited
                awaited = self._work.send(None)
        except StopIteration:
            return


class Interrupting:
    """Middleware that does it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._happened = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and interrupt it when it says so."""
        if scope["type"] == "http" and scope["path"] == "/interruptions":
            idle = scope["app"].state.service.query_runner.is_idle
            await JSONResponse({"happened": self._happened, "idle": idle})(scope, receive, send)
            return
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if "x-interrupt-at" not in headers:
            await self._app(scope, receive, send)
            return
        work = Interruptible(
            _coroutine(self._app, scope, receive, send),
            int(headers["x-interrupt-at"]),
            ERRORS[headers["x-interrupt-with"]](),
            headers["x-interrupt-when"],
        )
        try:
            await work
        finally:
            self._happened += work.happened


async def _coroutine(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def _prepare(app: FastAPI) -> None:
    app.add_middleware(Interrupting)


if __name__ == "__main__":
    serve(prepare=_prepare)
