"""Render every error as an RFC 9457 problem, whether raised by a route, by FastAPI or by Starlette."""

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

_CRASH: Final = "The service failed on this request; its log has the traceback. Retry with the same Idempotency-Key."
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def install_problem_handlers(app: FastAPI) -> None:
    """Register the handlers of all errors with the application."""
    app.add_exception_handler(ServiceError, _render)
    app.add_exception_handler(RequestValidationError, _render_validation)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_exception_handler(Exception, _render_crash)


async def _render(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ServiceError):
        raise error
    if request.scope.get("endpoint") is inference.infer:
        inference.log_rejection(request, error)
    # KServe's client parses only application/json, so /v2 uses it unless the Accept header names the problem type.
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
    """Render FastAPI's error for an invalid parameter."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    return await _render(request, InvalidRequest(complaint(first, first["loc"][1:])))


async def _render_http(request: Request, error: Exception) -> JSONResponse:
    """Render Starlette's errors: no such path, wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    errors: dict[int, type[ServiceError]] = {404: NotFound, 405: MethodNotAllowed}
    error_type = errors.get(error.status_code, InvalidRequest)
    response = await _render(request, error_type(f"{request.method} {request.url.path}: {error.detail}"))
    response.headers.update(error.headers or {})
    if error.status_code == MethodNotAllowed.status:
        response.headers["Allow"] = ", ".join(_allowed(request))
    return response


def _allowed(request: Request) -> list[str]:
    """All methods of the path; Starlette names only those of the first matching route. HEAD is answered as GET is."""
    allowed = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]
    return allowed + (["HEAD"] if "GET" in allowed else [])


async def _render_crash(request: Request, _error: Exception) -> JSONResponse:
    """Render a defect of the service; the log has its traceback."""
    response = await _render(request, InternalError(_CRASH))
    response.headers["X-Request-Id"] = request.state.request_id  # this response bypasses the middleware
    return response
