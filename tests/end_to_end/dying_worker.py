"""The real worker, which kills itself with SIGKILL at the step that the variable DIE_AT names, such as `send:3`.

The steps, of which the first has number 1:

    send      a request that may be charged is about to be sent
    answer    the response to such a request has arrived, and is not stored yet
    commit    a transaction is about to be committed
    a name    a file is about to be moved to a path that ends in this name

So a kill falls on the same instruction however fast the machine is.
"""

import os
import runpy
import signal
import sys
from itertools import count
from typing import Any

import httpx
from sqlalchemy import Engine, event


class _Death:
    """Kills the process when `step` is reached for the `number`th time."""

    def __init__(self, step: str, number: int) -> None:
        self.step = step
        self._number = number
        self._steps = count(1)

    def reach(self, step: str) -> None:
        """Count this step; do not return from the fatal one."""
        if step == self.step and next(self._steps) == self._number:
            os.kill(os.getpid(), signal.SIGKILL)


def _arm(death: _Death) -> None:
    send = httpx.HTTPTransport.handle_request

    def handle_request(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if request.method != "POST":
            return send(transport, request)
        death.reach("send")
        response = send(transport, request)
        content = b"".join(response.iter_raw())  # all of it has arrived
        response.close()
        death.reach("answer")
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=httpx.ByteStream(content),
            extensions=response.extensions,
        )

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "os.rename" and os.fspath(arguments[1]).endswith(death.step):
            death.reach(death.step)

    httpx.HTTPTransport.handle_request = handle_request  # type: ignore[assignment, method-assign]  # a process of its own
    event.listen(Engine, "commit", lambda _connection: death.reach("commit"))
    sys.addaudithook(audit)


if __name__ == "__main__":
    step, _, number = os.environ["DIE_AT"].partition(":")
    _arm(_Death(step, int(number)))
    runpy.run_module("distill_worker", run_name="__main__")
