"""An inference request as it was asked: read, decoded, and identified."""

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
"""Bytes of JSON that would keep the others waiting while they are parsed."""


@dataclass(frozen=True)
class Asked:
    """A request whose body could be read."""

    model: str
    model_version: str | None
    idempotency_key: str | None
    head: oip.RequestHead
    tensors: dict[str, NDArray[Any]]
    outputs: tuple[str, ...]
    """By name, each once; none when the key's default is wanted."""
    payload_sha256: str

    def binary(self, outputs: Sequence[str]) -> list[str]:
        """Which of these outputs travel in binary."""
        return [output for output in outputs if self.head.wants_binary(output)]


async def read_request(request: Request, settings: Settings, model: str, model_version: str | None) -> Asked:
    """Read and decode an inference request.

    Raises:
        InvalidRequest, BodyTooLarge, BodyTooSlow, UnsupportedEncoding: the message names the field.
    """
    idempotency_key = idempotency_key_of(request)
    content = await read_body(request, max_bytes=settings.max_body_bytes, timeout_seconds=settings.body_timeout_seconds)
    header_length, most = _only(request, oip.HEADER_LENGTH), settings.max_json_bytes
    try:
        if oip.head_length(len(content), header_length) > _LONG_HEAD:
            decoded = run_in_threadpool(oip.decode_request, content, header_length, max_head_bytes=most)
            head, tensors = await decoded
        else:
            head, tensors = oip.decode_request(content, header_length, max_head_bytes=most)
        outputs = tuple(dict.fromkeys(output.name for output in head.outputs))
        sha = _payload_sha256(model_version, head, outputs or (LOGITS,), tensors)
    except oip.HeadTooLong as error:
        raise BodyTooLarge(str(error)) from error
    except oip.ProtocolError as error:
        raise InvalidRequest(str(error)) from error
    return Asked(model, model_version, idempotency_key, head, tensors, outputs, sha)


def idempotency_key_of(request: Request) -> str | None:
    """The header's value, quoted (a structured-field string) or bare.

    Raises:
        InvalidRequest: it is too long, empty, not printable ASCII, or there are two.
    """
    value = _only(request, "Idempotency-Key")
    if value is None:
        return None
    key = value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value
    if not 1 <= len(key) <= _MAX_IDEMPOTENCY_KEY or not key.isascii() or not key.isprintable():
        raise InvalidRequest(
            f"Idempotency-Key: expected 1 to {_MAX_IDEMPOTENCY_KEY} printable ASCII characters, got {key[:40]!r}"
        )
    return key


def _only(request: Request, name: str) -> str | None:
    """A header that may come once, as whoever stands between may read another of two."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise InvalidRequest(f"{name}: expected this header once, got it {len(values)} times")
    return values[0] if values else None


def _payload_sha256(
    model_version: str | None, head: oip.RequestHead, outputs: tuple[str, ...], tensors: dict[str, NDArray[Any]]
) -> str:
    """What makes two requests the same: all that the answer's bytes depend on, however it was written down.

    The version that was asked for counts; the name under which the model happens to be served does not. For logits
    alone the form is that of the first release, whose stored answers are still replayed.
    """
    binary = [output for output in outputs if head.wants_binary(output)]
    asked = [output.name for output in head.outputs]
    form = (bool(binary), asked) if outputs == (LOGITS,) else (binary, asked)
    digest = sha256(repr((model_version, head.id, *form)).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype.str, tensor.shape)).encode())
        if tensor.dtype.kind == "O":
            for element in tensor.ravel():
                digest.update(len(element).to_bytes(8, "little") + element)
        else:
            digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()
