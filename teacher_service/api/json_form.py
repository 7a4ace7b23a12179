"""JSON bodies of the admin routes: read after authentication, bounded in size, and validated with our own messages."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from fastapi import Request

from teacher_service.api.body import read_body
from teacher_service.api.dependencies import State
from teacher_service.errors.service_errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidRequest,
    ServiceError,
    UnsupportedEncoding,
)
from teacher_service.keys.request_schemas import RequestSchema, parse_request

MAX_BYTES: Final = 16 * 1024

BODY_ERRORS: Final[tuple[type[ServiceError], ...]] = (InvalidRequest, BodyTooSlow, BodyTooLarge, UnsupportedEncoding)
"""Errors that a route with a JSON body may raise."""

AnyRequest = TypeVar("AnyRequest", bound=RequestSchema)


def body_of(form: type[AnyRequest]) -> Callable[..., Awaitable[AnyRequest]]:
    """A dependency that parses the request's body as this schema."""

    async def read(request: Request, state: State) -> AnyRequest:
        content = await read_body(request, max_bytes=MAX_BYTES, timeout_seconds=state.settings.body_timeout_seconds)
        return parse_request(form, content, state.history.clock())

    return read


def documented_body(form: type[RequestSchema]) -> dict[str, Any]:
    """The OpenAPI `requestBody` of this schema."""
    schema = form.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
