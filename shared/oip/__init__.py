"""Open Inference Protocol v2 over REST: request and response bodies, and the binary-tensor extension.

A body is a JSON head, followed (when a tensor travels in binary) by the raw little-endian tensors in the order of the
head. The `Inference-Header-Content-Length` header says where the head ends.

Invariant: decoding what was encoded gives the same names, dtypes, shapes and bits; anything else raises
`ProtocolError`, whose message names the field, what was expected and what was received.

Source: KServe, "Open Inference Protocol"; Triton Inference Server, "Binary tensor data extension".
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.oip.heads import (
    MAX_DIMENSIONS,
    MAX_NESTED,
    MAX_TENSORS,
    HeadTooLong,
    ProtocolError,
    RequestedOutput,
    RequestHead,
    ResponseHead,
    TensorHead,
    parse_head,
)
from shared.oip.tensors import BYTES, DTYPES, Array, decode_tensors, encode_tensors

__all__ = [
    "BINARY_EXTENSION",
    "BYTES",
    "CLASS_NAMES",
    "DTYPES",
    "FINGERPRINT_EXTENSION",
    "HEADER_LENGTH",
    "IDEMPOTENCY_EXTENSION",
    "MAX_DIMENSIONS",
    "MAX_NESTED",
    "MAX_TENSORS",
    "Array",
    "Body",
    "HeadTooLong",
    "ProtocolError",
    "RequestHead",
    "RequestedOutput",
    "ResponseHead",
    "TensorHead",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
    "head_length",
]

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
BINARY_EXTENSION: Final = "binary_tensor_data"
CLASS_NAMES: Final = "class_names"
"""In a model's metadata, among `parameters`: the names of the classes, a list of texts in the order of the logits."""
FINGERPRINT_EXTENSION: Final = "model_version_is_fingerprint"
"""In `GET /v2`: `model_version` identifies weights and preprocessing, so equal versions give equal outputs anywhere."""

IDEMPOTENCY_EXTENSION: Final = "idempotency_key"
"""In `GET /v2`: a request that is repeated under its `Idempotency-Key` is charged once and gets the same answer."""


@dataclass(frozen=True)
class Body:
    """An encoded body. `header_length` is the length of the JSON head in bytes, or None when the body is JSON alone."""

    content: bytes
    header_length: int | None

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that describe this body."""
        if self.header_length is None:
            return {"Content-Type": "application/json"}
        return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(self.header_length)}


def encode_request(inputs: Mapping[str, Array], *, outputs: Sequence[str], request_id: str | None = None) -> Body:
    """An inference request whose inputs travel in binary and whose outputs are requested in binary."""
    heads, chunks = encode_tensors(inputs, binary=inputs.keys())
    head: dict[str, Any] = {"id": request_id} if request_id is not None else {}
    head["inputs"] = heads
    head["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return _encode(head, chunks)


def encode_response(
    outputs: Mapping[str, Array],
    *,
    binary: Collection[str],
    model_name: str,
    model_version: str,
    request_id: str | None = None,
) -> Body:
    """An inference response; the outputs named in `binary` follow the head as raw bytes, the others are JSON."""
    heads, chunks = encode_tensors(outputs, binary=binary)
    head: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if request_id is not None:
        head["id"] = request_id
    head["outputs"] = heads
    return _encode(head, chunks)


def head_length(size: int, header_length: str | None) -> int:
    """How many of a body's `size` bytes are its JSON head, as the header says; all of them where there is none."""
    if header_length is None:
        return size
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= 19):
        raise ProtocolError(f"{HEADER_LENGTH}: expected a number of bytes, got {header_length[:40]!r}")
    length = int(header_length)
    if length > size:
        raise ProtocolError(
            f"{HEADER_LENGTH}: expected at most the body's {size} bytes, got {length}; was the body cut short?"
        )
    return length


def decode_request(
    content: bytes, header_length: str | None, *, max_head_bytes: int = 2**63
) -> tuple[RequestHead, dict[str, Array]]:
    """A request's head and its input tensors by name.

    Args:
        content: the whole body.
        header_length: the `Inference-Header-Content-Length` header as received, or None.
        max_head_bytes: how much JSON is parsed at most; each byte may become a hundred in memory.

    Raises:
        ProtocolError: the body is malformed; HeadTooLong: it has more JSON than that.
    """
    length = head_length(len(content), header_length)
    if length > max_head_bytes:
        raise HeadTooLong(
            f"body: expected at most {max_head_bytes} bytes of JSON, got {length}; send tensors in binary"
        )
    raw_head = content[:length]
    if raw_head.count(b"[") + raw_head.count(b"{") > MAX_NESTED:
        raise HeadTooLong(f"body: expected at most {MAX_NESTED} lists and objects in JSON, got more; send flat data")
    head, payload = parse_head(RequestHead, raw_head), memoryview(content)[length:]
    return head, decode_tensors("inputs", head.inputs, payload)


def decode_response(
    content: bytes, header_length: str | None, names: Collection[str] | None = None
) -> tuple[ResponseHead, dict[str, Array]]:
    """A response's head and its output tensors by name; the arguments are those of `decode_request`.

    If `names` are given, other tensors are not decoded: whatever a server adds unasked is no reason to lose the rest.
    """
    length = head_length(len(content), header_length)
    head, payload = parse_head(ResponseHead, content[:length]), memoryview(content)[length:]
    return head, decode_tensors("outputs", head.outputs, payload, names)


def _encode(head: Mapping[str, Any], chunks: Sequence[bytes]) -> Body:
    raw_head = json.dumps(head, separators=(",", ":"), allow_nan=False).encode("utf-8")
    if not chunks:
        return Body(raw_head, None)
    return Body(b"".join([raw_head, *chunks]), len(raw_head))
