"""A small server of the Open Inference Protocol v2, written from its specification; it charges every request.

Source: KServe, "Open Inference Protocol (V2)", REST API; Triton Inference Server, "Binary tensor data extension".
"""

import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.foreign.serving import Handler, running

_SIZES = {"UINT8": "B", "INT64": "q", "FP32": "f"}


@dataclass
class ForeignModel:
    """One model on one server, what was asked of it, and what it charged."""

    predict: Callable[[NDArray[np.uint8]], NDArray[np.float64]]
    """The logits of images `[samples, channels, height, width]`."""
    image_shape: tuple[int, int, int] = (1, 2, 2)
    num_classes: int = 3
    name: str = "classifier"
    version: str | None = "1"
    other_versions: tuple[str, ...] = ()
    """Versions that it serves and lists after `version`."""
    version_in_answers: str | None = None
    """Where it differs from the version that the metadata name."""
    tensors: tuple[str, ...] = ("logits", "log_probabilities", "probabilities", "top_k", "top_k_indices", "label")
    """What it offers, before renaming."""
    input_name: str = "images"
    image_datatype: str = "UINT8"
    logits_name: str = "logits"
    top_k: int = 2
    binary: bool = True
    """Whether it can read and write binary tensors."""
    seconds_a_request: float = 0.0
    hang_up_after_paying: int = 0
    """So many requests are charged, and their connections broken instead of an answer."""
    asked: list[str] = field(default_factory=list)
    """The paths of requests that might be charged."""
    charged: list[int] = field(default_factory=list)
    """Samples of each request that was charged."""
    heads: list[dict[str, Any]] = field(default_factory=list)
    """The JSON part of each request."""
    was_binary: list[bool] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    def __post_init__(self) -> None:
        self._lock = Lock()

    def metadata(self) -> dict[str, Any]:
        """As `GET /v2/models/<name>` tells it."""
        sizes = {"top_k": [self.top_k], "top_k_indices": [self.top_k], "label": []}
        told = [
            {
                "name": self.logits_name if tensor == "logits" else tensor,
                "datatype": "INT64" if tensor in ("label", "top_k_indices") else "FP32",
                "shape": [-1, *sizes.get(tensor, [self.num_classes])],
            }
            for tensor in self.tensors
        ]
        taken = {"name": self.input_name, "datatype": self.image_datatype, "shape": [-1, *self.image_shape]}
        versions = {"versions": list(self.versions)} if self.versions else {}
        return {"name": self.name, "platform": "foreign", "inputs": [taken], "outputs": told, **versions}

    @property
    def versions(self) -> tuple[str, ...]:
        """All versions, as it lists them."""
        return () if self.version is None else (self.version, *self.other_versions)

    def outputs(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Everything it could tell, by the names that it has outside."""
        logits = self.predict(images)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        probabilities = np.exp(log_probabilities)
        best = np.argsort(-logits, axis=1, kind="stable")[:, : self.top_k]
        return {
            self.logits_name: logits,
            "log_probabilities": log_probabilities,
            "probabilities": probabilities,
            "top_k": np.take_along_axis(probabilities, best, axis=1),
            "top_k_indices": best,
            "label": best[:, 0],
        }

    def charge(self, samples: int) -> bool:
        """Write it down; whether the answer is sent."""
        with self._lock:
            self.charged.append(samples)
            self.hang_up_after_paying -= 1
            return self.hang_up_after_paying < 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count those that are asked at the same time, and take as long as it takes."""
        with self._lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(self.seconds_a_request)
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1


@contextmanager
def served(model: ForeignModel) -> Iterator[str]:
    """The URL of a server of it."""
    place = f"/v2/models/{model.name}"

    class Server(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
            extensions = ["binary_tensor_data"] if model.binary else []
            if self.path == "/v2":
                self.answer_json(200, {"name": "foreign", "version": "1.0", "extensions": extensions})
            elif self.path == "/v2/health/ready":
                self.answer_json(200, {})
            elif self.path in (place, *(f"{place}/versions/{version}" for version in model.versions)):
                self.answer_json(200, model.metadata())
            else:
                self.answer_json(404, {"error": f"no {self.path}"})

        def do_POST(self) -> None:  # noqa: N802 - the name is http.server's
            content = self.body()
            model.asked.append(self.path)
            versions = {f"{place}/versions/{version}/infer": version for version in model.versions}
            if self.path not in (f"{place}/infer", *versions):
                self.answer_json(404, {"error": f"no {self.path}"})
                return
            length = self.headers.get("Inference-Header-Content-Length")
            if length is not None and not model.binary:
                self.answer_json(400, {"error": "binary tensors are not supported"})
                return
            head = json.loads(content[: int(length)] if length else content)
            images = _images(head["inputs"][0], content[int(length) :] if length else b"")
            model.heads.append(head)
            model.was_binary.append(length is not None)
            with model.at_work():
                answered = model.charge(len(images))
                found = model.outputs(images)
            if not answered:
                self.hang_up()
                return
            version = model.version_in_answers or versions.get(self.path, model.version)
            self.answer(*_answer(model, head, found, version))

    with running(Server) as url:
        yield url


def _images(tensor: dict[str, Any], binary: bytes) -> NDArray[np.uint8]:
    assert tensor["datatype"] == "UINT8"
    if "data" in tensor:
        flat = list(tensor["data"])
    else:
        size = tensor["parameters"]["binary_data_size"]
        assert size == len(binary)
        flat = list(struct.unpack(f"<{size}B", binary))
    return np.array(flat, np.uint8).reshape(tensor["shape"])


def _answer(
    model: ForeignModel, head: dict[str, Any], found: dict[str, NDArray[Any]], version: str | None
) -> tuple[int, bytes, dict[str, str]]:
    heads: list[dict[str, Any]] = []
    binary = b""
    for asked in head["outputs"]:
        values = found[asked["name"]]
        datatype = "INT64" if values.dtype.kind == "i" else "FP32"
        told: dict[str, Any] = {"name": asked["name"], "datatype": datatype, "shape": list(values.shape)}
        flat = values.ravel().tolist()
        if asked.get("parameters", {}).get("binary_data") and model.binary:
            packed = struct.pack(f"<{len(flat)}{_SIZES[datatype]}", *flat)
            told["parameters"] = {"binary_data_size": len(packed)}
            binary += packed
        else:
            told["data"] = flat
        heads.append(told)
    body = {"model_name": model.name, "id": head.get("id", ""), "outputs": heads}
    written = json.dumps(body if version is None else {**body, "model_version": version}).encode()
    headers = {"Content-Type": "application/octet-stream" if binary else "application/json"}
    if binary:
        headers["Inference-Header-Content-Length"] = str(len(written))
    return 200, written + binary, headers
