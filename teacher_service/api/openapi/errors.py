"""The refusals of a route, for its OpenAPI operation: made of the errors themselves, so that neither can lie.

`@router.get(..., responses=refusals(Unauthorized, LedgerUnavailable))` documents what the docstring of an endpoint
names. Every route may also fail by a defect of the service, which is added.
"""

from itertools import groupby
from typing import Any, Final

from teacher_service.errors.service_errors import InternalError, ServiceError

Responses = dict[int | str, dict[str, Any]]
"""What FastAPI takes as `responses=`."""

KEYED: Final[dict[str, Any]] = {"security": [{"bearer": []}, {"apiKey": []}]}
"""`openapi_extra=` of a route that asks for an API key."""
ADMIN_KEYED: Final[dict[str, Any]] = {"security": [{"adminKey": []}]}
"""The same of one that asks for TEACHER_ADMIN_KEY."""
METRICS_KEYED: Final[dict[str, Any]] = {"security": [{"metricsKey": []}, {}]}
"""The same of one that asks for TEACHER_METRICS_KEY, where that is set."""

_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}


def refusals(*kinds: type[ServiceError]) -> Responses:
    """The responses of a route that may refuse for these reasons, as `application/problem+json`."""
    return _responses(kinds, "application/problem+json")


def protocol_refusals(*kinds: type[ServiceError]) -> Responses:
    """The same on `/v2`: `application/json`, or `application/problem+json` where the request accepts it."""
    return _responses(kinds, "application/json", "application/problem+json")


def _responses(kinds: tuple[type[ServiceError], ...], *media_types: str) -> Responses:
    found: set[type[ServiceError]] = {*kinds, InternalError}
    in_order = sorted(found, key=lambda kind: (kind.status, kind.__name__))
    return {
        status: _response([kind.example() for kind in alike], media_types)
        for status, alike in groupby(in_order, key=lambda kind: kind.status)
    }


def _response(refused: list[ServiceError], media_types: tuple[str, ...]) -> dict[str, Any]:
    examples = {type(error).__name__: {"summary": error.meaning(), "value": error.document()} for error in refused}
    return {
        "description": "\n\n".join(f"`{error.kind}`: {error.meaning()}" for error in refused),
        "headers": {name: {"schema": {"type": "string"}} for error in refused for name in error.headers()},
        "content": {media_type: {"schema": _PROBLEM, "examples": examples} for media_type in media_types},
    }
