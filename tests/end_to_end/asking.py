"""Requests for the logits of black images: as good as any where only the counting matters."""

import time
from collections.abc import Callable
from functools import cache
from typing import Final

import httpx
import numpy as np
import pytest

from shared import oip
from tests.end_to_end.processes import RunningService, http
from tests.endurance import HANG_SECONDS

INFER: Final = "/v2/models/teacher/infer"


@cache
def body(samples: int) -> oip.Body:
    """A request for so many."""
    return oip.encode_request({"images": np.zeros((samples, 1, 8, 8), np.uint8)}, outputs=["logits"])


def paying(api_key: str, idempotency_key: str | None = None) -> dict[str, str]:
    """The headers that pay; with an Idempotency-Key, once."""
    named = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
    return {"Authorization": f"Bearer {api_key}", **named}


def ask(
    service: RunningService,
    api_key: str,
    samples: int = 1,
    idempotency_key: str | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """A request that is well formed."""
    sent = body(samples)
    named = {**sent.headers, **paying(api_key, idempotency_key), **(headers or {})}
    return http().post(service.url + INFER, content=sent.content, headers=named)


def outcome(answer: httpx.Response) -> str:
    """`answered`, `replayed`, or the kind of its problem."""
    if answer.status_code == 200:
        return "replayed" if "idempotency-replayed" in answer.headers else "answered"
    return str(answer.json()["type"]).rpartition("/")[2]


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again; the test fails when it does not happen."""
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"it did not happen within {HANG_SECONDS} s")
        time.sleep(0.01)
