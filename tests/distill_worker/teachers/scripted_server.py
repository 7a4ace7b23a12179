"""A server that gives the answers of a script: httpx's transport is the seam, and the clock is the client's."""

from collections.abc import Callable
from dataclasses import replace
from threading import Condition
from typing import Any

import httpx
import numpy as np

from distill_worker.teachers.base import Description
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.oip import OipTeacher
from distill_worker.teachers.pace.pacer import Pacer
from shared import oip
from shared.oip import problem

URL = "http://teacher.test:8000"

IMAGES = np.arange(2 * 12, dtype=np.uint8).reshape(2, 3, 2, 2)

LOGITS = np.array([[1, 2, 3, 4, 5], [-1, 0, 1, 0, 0.5]], dtype=np.float32)

DESCRIPTION = Description("abc123", (3, 2, 2), 5, 16, {"logits": (5,)})

METADATA: dict[str, Any] = {
    "name": "m",
    "versions": ["1", "abc123"],
    "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 3, 2, 2]}],
    "outputs": [{"name": "label", "shape": [-1]}, {"name": "logits", "datatype": "FP32", "shape": [-1, 5]}],
    "parameters": {"max_batch_size": 16},
}

OURS = {"name": "ours", "extensions": [oip.BINARY_EXTENSION, oip.FINGERPRINT_EXTENSION, oip.IDEMPOTENCY_EXTENSION]}

Answer = httpx.Response | Exception


class Server:
    """Gives its answers in order, the last one for ever, and remembers the requests and the client's waits."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []
        self.now = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The transport's handler."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        """The client waits before it tries again."""
        self.slept.append(seconds)
        self.now += seconds

    def wait(self, _: Condition, seconds: float | None) -> None:
        """The client waits for its turn."""
        assert seconds is not None, "it would wait for ever"
        self.now += seconds

    def sender(
        self,
        *,
        url: str = URL,
        api_key: str | None = "secret",
        give_up_after: float = 120,
        on_retry: Callable[[str], None] = lambda _: None,
        pacer: Pacer | None = None,
    ) -> Sender:
        """A client of this server, without a protocol."""
        return Sender(
            url,
            api_key=api_key,
            timeout_seconds=5,
            give_up_after_seconds=give_up_after,
            on_retry=on_retry,
            transport=httpx.MockTransport(self),
            pacer=pacer or Pacer(4, max(120, give_up_after), lambda: self.now, self.wait),
            sleep=self.sleep,
        )

    def teacher(self, *, url: str = URL, **options: Any) -> OipTeacher:
        """A client of this server's model `m`."""
        return OipTeacher(self.sender(url=url), model="m", **options)

    def buy(
        self,
        *,
        repeats_are_free: bool = True,
        on_retry: Callable[[str], None] = lambda _: None,
        give_up_after: float = 120,
    ) -> Any:
        """The logits that a client gets for `IMAGES`."""
        described = replace(DESCRIPTION, repeats_are_free=repeats_are_free)
        with OipTeacher(self.sender(give_up_after=give_up_after, on_retry=on_retry), model="m") as teacher:
            return teacher.buy(IMAGES, description=described, idempotency_key="k1").outputs["logits"]


def logits(
    values: np.ndarray = LOGITS,
    *,
    name: str = "logits",
    binary: bool = True,
    version: str = "abc123",
    answers: str = "k1",
) -> httpx.Response:
    """The answer to `buy`, or one like it."""
    body = oip.encode_response(
        {name: values},
        binary={name} if binary else set(),
        model_name="m",
        model_version=version,
        request_id=answers,
    )
    return httpx.Response(200, content=body.content, headers=body.headers)


def refusal(status: int, *, kind: str = "about:blank", retry_after: str | None = None) -> httpx.Response:
    """A problem, as our service words it."""
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    return httpx.Response(
        status, json={"type": problem.TYPE_PREFIX + kind, "detail": "because", "error": "because"}, headers=headers
    )


def describe(metadata: Any = METADATA, server: Any = OURS, *, url: str = URL, **options: Any) -> Description:
    """What a client makes of these metadata."""
    with Server(httpx.Response(200, json=server), httpx.Response(200, json=metadata)).teacher(
        url=url, **options
    ) as teacher:
        return teacher.describe()
