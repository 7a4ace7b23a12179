"""The OpenAPI operation of `infer`, which parses its body and encodes its response without FastAPI.

The examples are requests that the running service answers: they have its model's name and its images' shape.
"""

from math import prod
from typing import Any, Final

from fastapi import Response

from shared import oip
from teacher_service.api.openapi.errors import KEYED, Responses, protocol_error_responses
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
"""Larger images are not shown as a JSON example."""

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "required": False, "schema": schema}


_REQUEST: Final[dict[str, Any]] = KEYED | {
    "parameters": [
        _header(
            "Idempotency-Key",
            "Makes a retry free: the same key with the same payload gets the same response. Quoted or bare.",
            type="string",
            pattern="^[ -~]+$",
            minLength=1,
            maxLength=255,
        ),
        _header(
            oip.HEADER_LENGTH,
            "Length in bytes of the JSON at the start of the body, if binary tensors follow it.",
            type="integer",
            minimum=0,
        ),
        _header(
            "Content-Encoding",
            "Compression of the whole body.",
            type="string",
            enum=["gzip", "x-gzip", "deflate", "identity"],
        ),
    ],
    "requestBody": {
        "required": True,
        "description": "Images as raw pixels (UINT8) or as PNG or JPEG files (BYTES; base64 in JSON), and the names "
        "of the requested outputs. The Content-Type is ignored.",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/RequestHead"}},
            "application/octet-stream": {
                "schema": _BINARY["schema"]
                | {"description": f"RequestHead as JSON of {oip.HEADER_LENGTH} bytes, then the bytes of the tensors."}
            },
        },
    },
}

_ANSWER: Final[Responses] = {
    200: {
        "description": "The outputs, in JSON or, if so requested, in binary.",
        "headers": {
            "X-Answer-Kept-Until": {
                "description": "Time until which the same Idempotency-Key gets this response again.",
                "schema": {"type": "string", "format": "date-time"},
            },
            "Idempotency-Replayed": {
                "description": "`true` on a response that was charged before.",
                "schema": {"type": "string", "const": "true"},
            },
            oip.HEADER_LENGTH: {
                "description": "Length in bytes of the JSON at the start of the body, if binary tensors follow it.",
                "schema": {"type": "integer"},
            },
        },
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/ResponseHead"}},
            "application/octet-stream": _BINARY,
        },
    }
}
_ANSWERS: Final = _ANSWER | protocol_error_responses(
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
DOCUMENTED: Final[dict[str, Any]] = {"responses": _ANSWERS, "response_class": Response, "openapi_extra": _REQUEST}
"""Arguments of the route's decorator."""


def add_examples(operation: dict[str, Any], model: str, image_shape: tuple[int, ...]) -> None:
    """Add requests that this service answers to the operation of `infer`."""
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
