"""What every route is given: the running service, and the key that asks."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from teacher_service.desk import Desk
from teacher_service.errors import Unauthorized
from teacher_service.key_ring import KeyRing
from teacher_service.ledger import Ledger
from teacher_service.quota import Quota
from teacher_service.settings import Settings
from teacher_service.teacher import Teacher


@dataclass(frozen=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    teacher: Teacher
    keys: KeyRing
    ledger: Ledger
    desk: Desk


def running_service(request: Request) -> Service:
    """The service that the application's lifespan opened."""
    service = request.app.state.service
    if not isinstance(service, Service):
        raise TypeError("the application was not started")
    return service


async def caller(request: Request, service: Annotated[Service, Depends(running_service)]) -> Quota:
    """The quota of the key in `Authorization: Bearer <key>` or `X-API-Key: <key>`; 401 without a valid one."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    token = credentials.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    if not token:
        raise Unauthorized("An API key is required. Send it as `Authorization: Bearer <key>`.")
    quota = await run_in_threadpool(service.keys.authenticate, token)
    request.state.quota = quota  # for the headers of a refusal
    return quota


def quota_headers(quota: Quota) -> dict[str, str]:
    """The quota as structured fields (draft-ietf-httpapi-ratelimit-headers); a lifetime quota has no window."""
    return {
        "RateLimit-Policy": f'"quota";q={quota.limit};qu="samples"',
        "RateLimit": f'"quota";r={quota.remaining}',
    }


RunningService = Annotated[Service, Depends(running_service)]
Caller = Annotated[Quota, Depends(caller)]
