"""Read an inference request: decode its body and compute the hash that identifies its payload."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from shared import oip
from shared.output_kinds import LOGITS
from teacher_service.api.body import read_body
from teacher_service.errors.service_errors import BodyTooLarge, InvalidRequest
from teacher_service.settings import Settings

_MAX_IDEMPOTENCY_KEY: Final = 255
_LONG_HEAD: Final = 64 * 1024
"""Longer JSON heads are parsed in a thread, so that they do not block other requests; bytes."""


@dataclass(frozen=True)
class InferenceRequest:
    """A decoded inference request."""

    model: str
    model_version: str | None
    idempotency_key: str | None
    head: oip.RequestHead
    tensors: dict[str, NDArray[Any]]
    outputs: tuple[str, ...]
    """Names of the requested outputs, each once; empty for the key's default."""
    payload_sha256: str

    def binary(self, outputs: Sequence[str]) -> list[str]:
        """The outputs that the client wants in binary."""
        return [output for output in outputs if self.head.wants_binary(output)]


async def read_inference_request(
    request: Request, settings: Settings, model: str, model_version: str | None
) -> InferenceRequest:
    """Read and decode an inference request.

    Raises:
        InvalidRequest, BodyTooLarge, BodyTooSlow, UnsupportedEncoding: the message names the field.
    """
    idempotency_key = idempotency_key_of(request)
    content = await read_body(request, max_bytes=settings.max_body_bytes, timeout_seconds=settings.body_timeout_seconds)
    header_length, max_json = _single_header(request, oip.HEADER_LENGTH), settings.max_json_bytes
    try:
        if oip.head_length(len(content), header_length) > _LONG_HEAD:
            decoded = run_in_threadpool(oip.decode_request, content, header_length, max_head_bytes=max_json)
            head, tensors = await decoded
        else:
            head, tensors = oip.decode_request(content, header_length, max_head_bytes=max_json)
        outputs = tuple(dict.fromkeys(output.name for output in head.outputs))
        sha = _payload_sha256(model_version, head, outputs or (LOGITS,), tensors)
    except oip.HeadTooLong as error:
        raise BodyTooLarge(str(error)) from error
    except oip.ProtocolError as error:
        raise InvalidRequest(str(error)) from error
    return InferenceRequest(model, model_version, idempotency_key, head, tensors, outputs, sha)


def idempotency_key_of(request: Request) -> str | None:
    """The `Idempotency-Key` header's value, quoted (a structured-field string) or bare.

    Raises:
        InvalidRequest: the header is too long, empty, not printable ASCII, or sent twice.
    """
    value = _single_header(request, "Idempotency-Key")
    if value is None:
        return None
    key = value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value
    if not 1 <= len(key) <= _MAX_IDEMPOTENCY_KEY or not key.isascii() or not key.isprintable():
        raise InvalidRequest(
            f"Idempotency-Key: expected 1 to {_MAX_IDEMPOTENCY_KEY} printable ASCII characters, got {key[:40]!r}"
        )
    return key


def _single_header(request: Request, name: str) -> str | None:
    """The value of a header that may be sent once only: a proxy might read the other of two."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise InvalidRequest(f"{name}: expected this header once, got it {len(values)} times")
    return values[0] if values else None


def _payload_sha256(
    model_version: str | None, head: oip.RequestHead, outputs: tuple[str, ...], tensors: dict[str, NDArray[Any]]
) -> str:
    """Hash of all that the response depends on: two requests with the same hash are the same, in whatever encoding.

    It covers the requested version, but not the model's name. For logits alone the format is that of the first release,
    whose stored answers are still replayed.
    """
    binary = [output for output in outputs if head.wants_binary(output)]
    names = [output.name for output in head.outputs]
    format_ = (bool(binary), names) if outputs == (LOGITS,) else (binary, names)
    digest = sha256(repr((model_version, head.id, *format_)).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype.str, tensor.shape)).encode())
        if tensor.dtype.kind == "O":
            for element in tensor.ravel():
                digest.update(len(element).to_bytes(8, "little") + element)
        else:
            digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()
