"""How refusals look: every one, whoever raised it, is a problem document of ours."""

from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from teacher_service.api.dependencies import quota_headers
from teacher_service.api.routes import infer as inference
from teacher_service.errors.service_errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    ServiceError,
)
from teacher_service.errors.validation import complaint

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def render_refusals(app: FastAPI) -> None:
    """Let the application answer so."""
    app.add_exception_handler(ServiceError, _render)
    app.add_exception_handler(RequestValidationError, _render_validation)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_exception_handler(Exception, _render_crash)


async def _render(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ServiceError):
        raise error
    if request.scope.get("endpoint") is inference.infer:
        inference.note_refusal(request, error)
    # KServe's client parses nothing but application/json, so /v2 answers in it unless asked otherwise.
    wants_problem = "application/problem+json" in request.headers.get("accept", "")
    plain = request.url.path.startswith("/v2") and not wants_problem
    quota = error.quota or getattr(request.state, "quota", None)
    return JSONResponse(
        error.document(),
        status_code=error.status,
        headers={**error.headers(), **(quota_headers(quota) if quota is not None else {})},
        media_type="application/json" if plain else "application/problem+json",
    )


async def _render_validation(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's refusal of a parameter or a body."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    return await _render(request, InvalidRequest(complaint(first, first["loc"][1:])))


async def _render_http(request: Request, error: Exception) -> JSONResponse:
    """Starlette's own refusals: no such path, wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    refusals: dict[int, type[ServiceError]] = {404: NotFound, 405: MethodNotAllowed}
    refusal = refusals.get(error.status_code, InvalidRequest)
    answer = await _render(request, refusal(f"{request.method} {request.url.path}: {error.detail}"))
    answer.headers.update(error.headers or {})
    if error.status_code == MethodNotAllowed.status:
        answer.headers["Allow"] = ", ".join(_allowed(request))
    return answer


def _allowed(request: Request) -> list[str]:
    """All methods of the path; Starlette names those of the first route that has it."""
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


async def _render_crash(request: Request, _error: Exception) -> JSONResponse:
    """A defect of ours; the server's log has the traceback."""
    answer = await _render(request, InternalError("The service failed on this request; its log says where."))
    answer.headers["X-Request-Id"] = request.state.request_id  # this answer leaves outside all middleware
    return answer
