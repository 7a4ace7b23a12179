"""The error responses of a route in the OpenAPI document, generated from the error classes so that both always agree.

`@router.get(..., responses=error_responses(Unauthorized, LedgerUnavailable))` documents the errors that the route's
docstring names. InternalError is added to every route.
"""

from itertools import groupby
from typing import Any, Final

from teacher_service.errors.service_errors import InternalError, ServiceError

Responses = dict[int | str, dict[str, Any]]
"""The type of FastAPI's `responses=`."""

KEYED: Final[dict[str, Any]] = {"security": [{"bearer": []}, {"apiKey": []}]}
"""`openapi_extra=` of a route that requires an API key."""
ADMIN_KEYED: Final[dict[str, Any]] = {"security": [{"adminKey": []}]}
"""`openapi_extra=` of a route that requires TEACHER_ADMIN_KEY."""
METRICS_KEYED: Final[dict[str, Any]] = {"security": [{"metricsKey": []}, {}]}
"""`openapi_extra=` of a route that requires TEACHER_METRICS_KEY if it is set."""

_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}


def error_responses(*kinds: type[ServiceError]) -> Responses:
    """The responses of a route that may raise these errors, as `application/problem+json`."""
    return _responses(kinds, "application/problem+json")


def protocol_error_responses(*kinds: type[ServiceError]) -> Responses:
    """The same for `/v2`: `application/json`, or `application/problem+json` if the request accepts it."""
    return _responses(kinds, "application/json", "application/problem+json")


def _responses(kinds: tuple[type[ServiceError], ...], *media_types: str) -> Responses:
    types: set[type[ServiceError]] = {*kinds, InternalError}
    in_order = sorted(types, key=lambda kind: (kind.status, kind.__name__))
    return {
        status: _response([kind.example() for kind in same], media_types)
        for status, same in groupby(in_order, key=lambda kind: kind.status)
    }


def _response(errors: list[ServiceError], media_types: tuple[str, ...]) -> dict[str, Any]:
    examples = {type(error).__name__: {"summary": error.meaning(), "value": error.document()} for error in errors}
    return {
        "description": "\n\n".join(f"`{error.kind}`: {error.meaning()}" for error in errors),
        "headers": {name: {"schema": {"type": "string"}} for error in errors for name in error.headers()},
        "content": {media_type: {"schema": _PROBLEM, "examples": examples} for media_type in media_types},
    }
