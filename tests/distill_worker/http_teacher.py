"""The fake teacher behind real HTTP, for what only a whole command shows."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from distill_worker.errors import QuotaExhausted, TeacherUnavailable
from distill_worker.teachers.base import Rate
from shared import oip
from shared.oip import problem
from tests.distill_worker.fake_teacher import FakeTeacher

EXTENSIONS: tuple[str, ...] = (oip.BINARY_EXTENSION, oip.FINGERPRINT_EXTENSION, oip.IDEMPOTENCY_EXTENSION)


@contextmanager
def served(teacher: FakeTeacher) -> Iterator[str]:
    """Serve it as model `teacher` on a free loopback port; the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            teacher.paths_read.append(self.path)
            description, quota = teacher.describe(), teacher.quota()
            assert description.image_shape is not None
            answers: dict[str, Any] = {
                "/v2": {"name": "fake", "extensions": list(EXTENSIONS)},
                "/v2/models/teacher": {
                    "versions": [description.id],
                    "inputs": [{"name": "images", "shape": [-1, *description.image_shape]}],
                    "outputs": [
                        {"name": name, "datatype": "FP32", "shape": [-1, *shape]}
                        for name, shape in description.outputs.items()
                    ],
                },
            }
            if quota is not None:
                rates = {f"{rate.unit}_per_minute": _limit(rate) for rate in quota.rates}
                answers["/v1/quota"] = {**vars(quota), "rates": None, "name": quota.key_name, **rates}
            found = answers.get(self.path)
            self._answer(404 if found is None else 200, json.dumps(found or {}).encode(), {})

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            head, tensors = oip.decode_request(content, self.headers[oip.HEADER_LENGTH])
            try:
                bought = teacher.buy(
                    tensors["images"],
                    description=teacher.description,
                    idempotency_key=self.headers["Idempotency-Key"].strip('"'),
                    outputs=tuple(output.name for output in head.outputs),
                )
            except QuotaExhausted as error:
                refusal = {"type": problem.TYPE_PREFIX + problem.QUOTA_EXCEEDED, "detail": str(error)}
                self._answer(429, json.dumps(refusal).encode(), {})
                return
            except TeacherUnavailable:
                return  # the connection closes without an answer
            body = oip.encode_response(
                bought.outputs, binary=set(bought.outputs), model_name="teacher", model_version=""
            )
            self._answer(200, body.content, body.headers)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
            """Keep standard error for the command under test."""

        def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _limit(rate: Rate) -> dict[str, float]:
    whole_in_seconds = 60 * (rate.per_minute - rate.remaining) / rate.per_minute
    return {"limit": rate.per_minute, "remaining": rate.remaining, "whole_in_seconds": whole_in_seconds}
