"""Who is compared: each subject's server, and how a request to it is written down.

All serve one weights file with one model thread and passes of at most 64 images. FastAPI and LitServe run in
`.venv-bench`, which has what LitServe brings along (uvloop, httptools); ours runs in `.venv`, as it is installed.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.service.load import Request
from benchmarks.service.processes import Server, running
from distill_worker.experiments.own_teacher.local_service import create_key
from shared import oip

BENCH_PYTHON = Path(".venv-bench/bin/python")
MAX_BATCH_SIZE = 64
OURS = {"TEACHER_MAX_BATCH_SIZE": str(MAX_BATCH_SIZE)}
"""How the benchmark's services differ from a default one: their passes are as large as LitServe's."""
_QUOTA = 10**12
_JSON = ("Content-Type", "application/json")
_VARIANTS = {name: f"benchmarks.service.{name}" for name in ("uncounted", "traced")}
"""Of our service, as modules."""
_PROGRAMS = {"fastapi": "benchmarks.service.plain_fastapi", "litserve": "benchmarks.service.litserve_server"}

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """A server as one kind of client sees it."""

    name: str
    title: str
    server: str
    request: Callable[[Images, str], Request]
    """From images and an API key."""
    has_idempotency_keys: bool = False


def nested_json(images: Images, _key: str) -> Request:
    """Lists in lists, as a JSON API without a protocol takes them."""
    return Request("/predict", (_JSON,), json.dumps({"images": images.tolist()}).encode(), len(images))


def raw_bytes(images: Images, _key: str) -> Request:
    """The pixels alone."""
    return Request("/predict", (("Content-Type", "application/octet-stream"),), images.tobytes(), len(images))


def oip_json(images: Images, key: str) -> Request:
    """The Open Inference Protocol with numbers in JSON, both ways."""
    tensor = {"name": "images", "shape": images.shape, "datatype": "UINT8", "data": images.ravel().tolist()}
    return _ours(json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}, len(images), key)


def oip_binary(images: Images, key: str) -> Request:
    """The Open Inference Protocol with binary tensors, both ways; what `distill-worker` sends."""
    body = oip.encode_request({"images": images}, outputs=["logits"])
    return _ours(body.content, body.headers, len(images), key)


SUBJECTS = (
    Subject("fastapi", "FastAPI, JSON", "fastapi", nested_json),
    Subject("litserve", "LitServe, raw bytes", "litserve", raw_bytes),
    Subject("json", "ours, JSON", "counted", oip_json, has_idempotency_keys=True),
    Subject("uncounted", "ours, binary, no ledger", "uncounted", oip_binary, has_idempotency_keys=True),
    Subject("binary", "ours, binary", "counted", oip_binary, has_idempotency_keys=True),
)


@dataclass(frozen=True)
class Running:
    """A server, stopped where it is, and the API key that it knows; empty when it asks for none."""

    server: Server
    key: str


@contextmanager
def started(names: Collection[str], weights: Path, folder: Path) -> Iterator[Mapping[str, Running]]:
    """Start these servers, by name; their logs and ledgers lie in `folder`."""
    with ExitStack() as stack:
        found = {}
        for name in sorted(names):
            data = folder / name
            data.mkdir()
            command, key = _competitor(name, weights) if name in _PROGRAMS else service_command(name, weights, data)
            server = stack.enter_context(running(command, data / "service.log", OURS))
            server.sleep()
            found[name] = Running(server, key)
        yield found


def service_command(name: str, weights: Path, data: Path) -> tuple[list[str], str]:
    """What starts our own service, all but the port; and a new API key, which it knows."""
    module = _VARIANTS.get(name, "teacher_service")
    key_file = data / "key"
    create_key(data, name="benchmark", quota=_QUOTA, key_file=key_file)
    command = [sys.executable, "-m", module, "serve", "--weights", str(weights), "--data-dir", str(data), "--port"]
    return command, key_file.read_text(encoding="ascii").strip()


def _competitor(name: str, weights: Path) -> tuple[list[str], str]:
    if not BENCH_PYTHON.exists():
        raise RuntimeError(
            f"{BENCH_PYTHON}: expected the environment of the other servers; `make bench-service` makes it"
        )
    return [str(BENCH_PYTHON), "-m", _PROGRAMS[name], str(weights)], ""


def _ours(body: bytes, headers: Mapping[str, str], images: int, key: str) -> Request:
    return Request("/v2/models/teacher/infer", (*headers.items(), ("Authorization", f"Bearer {key}")), body, images)
