"""The OpenAPI document: what FastAPI derives from the routes, and what it cannot derive.

Invariant: the document describes what the service really sends. FastAPI's own 422 is removed, as invalid parameters are
rendered as 400 problems.
"""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict

from shared import oip
from teacher_service.api.openapi.infer import add_examples
from teacher_service.errors.service_errors import HeadTooLarge, HeadTooSlow

_DESCRIPTION: Final = (
    "Every error is a problem document (RFC 9457). Its `type` links to a page that says what to do. An error costs "
    "nothing unless that page says otherwise. Besides the errors of each operation, a request whose headers are too "
    f"large gets {HeadTooLarge.status}, and one whose headers arrive too slowly gets {HeadTooSlow.status}."
)
_REFERENCE: Final = "#/components/schemas/{model}"
_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key (`teacher-service keys create`)."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same API key."},
    "adminKey": {"type": "http", "scheme": "bearer", "description": "TEACHER_ADMIN_KEY."},
    "metricsKey": {"type": "http", "scheme": "bearer", "description": "TEACHER_METRICS_KEY, if it is set."},
}
_TEXT: Final = {"type": "string"}
_REQUEST_ID: Final = {
    "X-Request-Id": {"description": "The request's own id if it is a plain word, else a random one.", "schema": _TEXT}
}
_LIMITS: Final = {
    "RateLimit": {"description": "Remaining quota, and remaining allowance of each limit.", "schema": _TEXT},
    "RateLimit-Policy": {"description": "The quota and each limit, with their units.", "schema": _TEXT},
}


class Problem(BaseModel):
    """Why a request was rejected or failed (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    """`/problems/<kind>`, a page of this service that explains the problem."""
    title: str
    status: int
    detail: str
    error: str
    """The same as `detail`, for clients of the Open Inference Protocol."""


def openapi_document(app: FastAPI, model: str, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """The document of a service that serves `model` for images `[C, H, W]` of this shape."""
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=_DESCRIPTION, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for described in (Problem, oip.RequestHead, oip.ResponseHead):
        schema = described.model_json_schema(ref_template=_REFERENCE)
        schemas |= schema.pop("$defs", {})
        schemas[described.__name__] = schema
    document["components"]["securitySchemes"] = _SECURITY
    for path, operation in _operations(document):
        _complete(operation, model)
        if path.endswith("/infer"):
            add_examples(operation, model, image_shape)
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for operation in item.values():
            yield path, operation


def _complete(operation: dict[str, Any], model: str) -> None:
    responses: dict[str, Any] = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    keyed = {"bearer": []} in operation.get("security", [])
    for response in responses.values():
        response["headers"] = _REQUEST_ID | (_LIMITS if keyed else {}) | response.get("headers", {})
    for parameter in operation.get("parameters", []):
        if (parameter["in"], parameter["name"]) == ("path", "model"):
            parameter["example"] = model
