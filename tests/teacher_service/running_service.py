"""The whole application, started on a real ledger with a small real teacher that a test may hold back or spoil."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final

import numpy as np
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from shared import oip
from teacher_service.app import create_app
from teacher_service.inference.batcher import Images, Rows
from teacher_service.keys.api_key import NewKey
from teacher_service.keys.store import KeyStore
from teacher_service.models import TorchTeacher
from teacher_service.settings import Settings
from tests.teacher_service.ledger_file import WAIT_SECONDS, FakeClock, counts

QUOTA: Final = 100
INFER: Final = "/v2/models/teacher/infer"


class ScriptedTeacher(TorchTeacher):
    """A real teacher that counts its passes, and whose predictions a test may hold back or spoil."""

    def __init__(self, weights: Path) -> None:
        super().__init__(weights, "cpu")
        self.passes: list[int] = []
        self.instead: Callable[[Images], Rows] | None = None
        self._free = Event()

    def predict(self, images: Images, outputs: Sequence[str] = ("logits",)) -> Rows:
        """What was asked for, unless the test said what happens instead."""
        self.passes.append(len(images))
        return self.instead(images) if self.instead is not None else super().predict(images, outputs)

    @contextmanager
    def held(self) -> Iterator[Event]:
        """The model stands still until `release`, or until the context is left; the event says that it was entered."""
        entered = Event()
        self._free.clear()

        def predict(images: Images) -> Rows:
            entered.set()
            assert self._free.wait(WAIT_SECONDS)
            return super(ScriptedTeacher, self).predict(images)

        self.instead = predict
        try:
            yield entered
        finally:
            self.release()

    def release(self) -> None:
        """The model moves again."""
        self.instead = None
        self._free.set()


@dataclass
class ServiceUnderTest:
    """The whole application, started, and one key worth `QUOTA` samples."""

    app: FastAPI
    http: TestClient
    teacher: ScriptedTeacher
    ledger_path: Path
    key: NewKey
    clock: FakeClock

    @property
    def authorization(self) -> dict[str, str]:
        """The header that pays."""
        return {"Authorization": f"Bearer {self.key.token}"}

    def new_key(self, name: str, quota: int) -> NewKey:
        """Another key."""
        keys: KeyStore = self.app.state.service.keys
        return keys.create(name, quota)

    def send(self, method: str, path: str, headers: dict[str, str] | None = None, content: bytes = b"") -> Response:
        """Any request, as it is."""
        response: Response = self.http.request(method, path, headers=headers or {}, content=content)
        return response

    def infer(self, images: Images, headers: dict[str, str] | None = None, path: str = INFER) -> Response:
        """A paid request for the logits of `images`, binary both ways."""
        body = oip.encode_request({"images": images}, outputs=["logits"])
        return self.send("POST", path, {**self.authorization, **body.headers, **(headers or {})}, body.content)

    def quota(self) -> dict[str, Any]:
        """What `/v1/quota` says of the key."""
        response = self.send("GET", "/v1/quota", self.authorization)
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        return answer

    def counts(self) -> tuple[int, int]:
        """Samples used and reserved: in the file, and equally on `/v1/quota`."""
        used, reserved = counts(self.ledger_path, self.key.id)
        quota = self.quota()
        assert (quota["used"], quota["reserved"]) == (used, reserved)
        assert quota["remaining"] == quota["limit"] - used - reserved
        return used, reserved


@contextmanager
def start_service(
    weights: Path, data_dir: Path, key: NewKey | None = None, **settings: Any
) -> Iterator[ServiceUnderTest]:
    """Start the application on the ledger in `data_dir`; with a small queue, batch and body unless told otherwise."""
    teacher = ScriptedTeacher(weights)
    limits = {"max_batch_size": 8, "max_queued_samples": 16, "max_body_bytes": 8192, "batch_timeout_seconds": 0}
    chosen = Settings(weights=weights, data_dir=data_dir, **(limits | settings))
    clock = FakeClock()
    app = create_app(chosen, teacher, clock)
    with TestClient(app, raise_server_exceptions=False) as http:
        teacher.passes.clear()  # the pass that warmed the model up
        keys: KeyStore = app.state.service.keys
        yield ServiceUnderTest(
            app, http, teacher, data_dir / "ledger.sqlite", key or keys.create("tester", QUOTA), clock
        )


def images(samples: int, seed: int = 0) -> Images:
    """Random images of the shape that the teacher of these tests takes."""
    return np.random.default_rng(seed).integers(0, 256, (samples, 3, 8, 8), dtype=np.uint8)


@contextmanager
def in_progress(
    service: ServiceUnderTest, samples: int, headers: dict[str, str] | None = None
) -> Iterator["Future[Response]"]:
    """A request whose answer the model is working on for as long as the context lasts."""
    with ThreadPoolExecutor(1) as client, service.teacher.held() as entered:
        request = client.submit(service.infer, images(samples), headers)
        assert entered.wait(WAIT_SECONDS)
        yield request
