"""What the OpenAPI document says of `infer`, which reads its body and writes its answer by hand.

The examples are requests that the running service answers: of its model's name, and in its images' shape.
"""

from math import prod
from typing import Any, Final

from fastapi import Response

from shared import oip
from teacher_service.api.openapi.errors import KEYED, Responses, protocol_refusals
from teacher_service.errors.service_errors import (
    AnswerExpired,
    BodyTooLarge,
    BodyTooSlow,
    Draining,
    IdempotencyMismatch,
    InvalidRequest,
    KeyChanged,
    LedgerUnavailable,
    OutputNotAllowed,
    Overloaded,
    PredictionFailed,
    QuotaExceeded,
    RateLimited,
    RequestInProgress,
    TooManyAtOnce,
    TooManySamples,
    Unauthorized,
    UnknownModel,
    UnsupportedEncoding,
)

_MAX_EXAMPLE_VALUES: Final = 1024
"""More pixels than that are no example to read as JSON."""

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "required": False, "schema": schema}


_ASKED: Final[dict[str, Any]] = KEYED | {
    "parameters": [
        _header(
            "Idempotency-Key",
            "What makes a retry free: the same key with the same payload gets the same bytes. Quoted or bare.",
            type="string",
            pattern="^[ -~]+$",
            minLength=1,
            maxLength=255,
        ),
        _header(
            oip.HEADER_LENGTH,
            "Bytes of JSON at the body's start, where tensors follow in binary.",
            type="integer",
            minimum=0,
        ),
        _header(
            "Content-Encoding",
            "How the whole body is compressed.",
            type="string",
            enum=["gzip", "x-gzip", "deflate", "identity"],
        ),
    ],
    "requestBody": {
        "required": True,
        "description": "Images as raw pixels (UINT8) or as PNG or JPEG files (BYTES; base64 in JSON), and the outputs "
        "that are wanted. The Content-Type is not looked at.",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/RequestHead"}},
            "application/octet-stream": {
                "schema": _BINARY["schema"]
                | {"description": f"RequestHead as JSON, {oip.HEADER_LENGTH} bytes of it, and then the tensors' bytes."}
            },
        },
    },
}

_ANSWER: Final[Responses] = {
    200: {
        "description": "The outputs, in JSON or (where they were asked for so) in binary.",
        "headers": {
            "X-Answer-Kept-Until": {
                "description": "Until when the Idempotency-Key gets this answer again.",
                "schema": {"type": "string", "format": "date-time"},
            },
            "Idempotency-Replayed": {
                "description": "`true` on an answer that was paid for before.",
                "schema": {"type": "string", "const": "true"},
            },
            oip.HEADER_LENGTH: {
                "description": "Bytes of JSON at the body's start, where tensors follow in binary.",
                "schema": {"type": "integer"},
            },
        },
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/ResponseHead"}},
            "application/octet-stream": _BINARY,
        },
    }
}
_ANSWERS: Final = _ANSWER | protocol_refusals(
    AnswerExpired,
    BodyTooLarge,
    BodyTooSlow,
    Draining,
    IdempotencyMismatch,
    InvalidRequest,
    KeyChanged,
    LedgerUnavailable,
    OutputNotAllowed,
    Overloaded,
    PredictionFailed,
    QuotaExceeded,
    RateLimited,
    RequestInProgress,
    TooManyAtOnce,
    TooManySamples,
    Unauthorized,
    UnknownModel,
    UnsupportedEncoding,
)
DOCUMENTED: Final[dict[str, Any]] = {"responses": _ANSWERS, "response_class": Response, "openapi_extra": _ASKED}
"""What the route is declared with."""


def add_examples(operation: dict[str, Any], model: str, image_shape: tuple[int, ...]) -> None:
    """Let `infer`'s operation show requests that this service answers."""
    shape, size = [1, *image_shape], prod(image_shape)
    head = (
        f'{{"inputs": [{{"name": "images", "datatype": "UINT8", "shape": {shape}, '
        f'"parameters": {{"binary_data_size": {size}}}}}]}}'
    )
    operation["description"] += f"""

A black image in binary:

```sh
printf '%s' '{head}' > request
head -c {size} /dev/zero >> request
curl -H "Authorization: Bearer $TEACHER_API_KEY" -H 'Inference-Header-Content-Length: {len(head)}' \\
  -H 'Idempotency-Key: "black-1"' --data-binary @request http://127.0.0.1:8000/v2/models/{model}/infer
```
"""
    if size <= _MAX_EXAMPLE_VALUES:
        image = {"name": "images", "datatype": "UINT8", "shape": shape, "data": [0] * size}
        operation["requestBody"]["content"]["application/json"]["example"] = {
            "inputs": [image],
            "outputs": [{"name": "logits"}],
        }
