"""JSON bodies of the admin routes: read after the caller is known, bounded, and refused in our own words."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from fastapi import Request

from teacher_service.api.body import read_body
from teacher_service.api.dependencies import RunningService
from teacher_service.errors.service_errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidRequest,
    ServiceError,
    UnsupportedEncoding,
)
from teacher_service.keys.request_schemas import RequestSchema, parse_request

MAX_BYTES: Final = 16 * 1024

BODY_REFUSALS: Final[tuple[type[ServiceError], ...]] = (InvalidRequest, BodyTooSlow, BodyTooLarge, UnsupportedEncoding)
"""Why a body may be refused."""

AnyRequest = TypeVar("AnyRequest", bound=RequestSchema)


def body_of(form: type[AnyRequest]) -> Callable[..., Awaitable[AnyRequest]]:
    """A dependency that reads the request's body as this form."""

    async def read(request: Request, service: RunningService) -> AnyRequest:
        content = await read_body(request, max_bytes=MAX_BYTES, timeout_seconds=service.settings.body_timeout_seconds)
        return parse_request(form, content, service.history.clock())

    return read


def documented_body(form: type[RequestSchema]) -> dict[str, Any]:
    """The same for the OpenAPI operation."""
    schema = form.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
