"""A request that is interrupted wherever it waits: afterwards nothing is held, and what was not charged can be spent.

The coroutine that answers it is driven by hand, so that the interruption falls exactly on its first, second, third ...
suspension, until there is none left.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from shared import oip
from teacher_service.app import create_app
from teacher_service.settings import Settings
from tests.end_to_end.faulty_service import ERRORS, WHENS, Interruptible
from tests.end_to_end.processes import ledger_url
from tests.teacher_service.ledger_file import WAIT_SECONDS, FakeClock
from tests.teacher_service.running_service import ScriptedTeacher, images

_BODY = oip.encode_request({"images": images(2)}, outputs=["logits"])


class _Client:
    """One request, as a server would hand it to the application."""

    def __init__(self, token: str, idempotency_key: str) -> None:
        self.status = 0
        sent = {"authorization": f"Bearer {token}", "idempotency-key": idempotency_key, **_BODY.headers}
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/v2/models/teacher/infer",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        }
        self._received = False

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self._received:
            await asyncio.Event().wait()  # it stays, and says nothing more
        self._received = True
        return {"type": "http.request", "body": _BODY.content, "more_body": False}

    async def send(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.status = message.get("status", self.status)


async def _ask(app: FastAPI, token: str, idempotency_key: str) -> int:
    client = _Client(token, idempotency_key)
    await app(client.scope, client.receive, client.send)
    return client.status


async def _interrupt_everywhere(app: FastAPI, error: type[BaseException], when: str) -> int:
    """How many suspensions a request has. Each key is worth two requests, and has to remain so."""
    service, at = app.state.service, 0
    while True:
        key = service.keys.create(f"interrupted-{at}", 4)
        client = _Client(key.token, "first")
        request = Interruptible(app(client.scope, client.receive, client.send), at, error(), when)
        await asyncio.gather(_awaited(request), return_exceptions=True)
        await service.query_runner.drain()
        quota = service.keys.authenticate(key.token)
        assert (quota.reserved, quota.in_flight, service.query_runner.pending_samples) == (0, 0, 0), at
        assert quota.used in (0, 2), at
        assert await _ask(app, key.token, "first") == 200, at
        assert service.keys.authenticate(key.token).used == 2, at
        assert [await _ask(app, key.token, other) for other in ("second", "third")] == [200, 429], at
        if not request.happened:
            return at
        at += 1


async def _awaited(request: Interruptible) -> None:
    await request


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("error", ERRORS.values())
def test_request_interrupted_anywhere_holds_nothing_and_is_charged_at_most_once(
    error: type[BaseException], when: str, weights: Path, ledger_place: Path | str
) -> None:
    settings = Settings(weights=weights, database_url=ledger_url(ledger_place))

    async def test() -> int:
        app = create_app(settings, ScriptedTeacher(weights), FakeClock())
        async with asyncio.timeout(6 * WAIT_SECONDS), app.router.lifespan_context(app):
            return await _interrupt_everywhere(app, error, when)

    assert asyncio.run(test()) >= 5  # the body, the key, the ledger and the model, both parts of the answer
