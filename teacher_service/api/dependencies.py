"""What every route is given: the running service, and the key that asks."""

import secrets
from dataclasses import dataclass
from math import ceil
from typing import Annotated

from fastapi import Depends, Request
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool

from teacher_service.errors.service_errors import AdminDisabled, Unauthorized
from teacher_service.inference.counters import Statistics
from teacher_service.inference.query_runner import Desk
from teacher_service.inference.readiness import Readiness
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.ledger import Ledger
from teacher_service.models import Teacher
from teacher_service.policy.quota import MAX_QUOTA, Quota
from teacher_service.policy.rate_limit import WINDOW_SECONDS
from teacher_service.query_log.history import History
from teacher_service.settings import Settings


@dataclass(frozen=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    teacher: Teacher
    keys: KeyStore
    ledger: Ledger
    desk: Desk
    readiness: Readiness
    statistics: Statistics
    history: History


async def running_service(request: Request) -> Service:  # async: FastAPI sends every other kind through a thread
    """The service that the application's lifespan opened."""
    service = request.app.state.service
    if not isinstance(service, Service):
        raise TypeError("the application was not started")
    return service


async def token(request: Request) -> str:
    """What `Authorization: Bearer <key>` or `X-API-Key: <key>` says; 401 without."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    offered = credentials.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    if not offered:
        raise Unauthorized("An API key is required. Send it as `Authorization: Bearer <key>`.")
    return offered


RunningService = Annotated[Service, Depends(running_service)]
Token = Annotated[str, Depends(token)]


async def current_quota(request: Request, service: RunningService, token: Token) -> Quota:
    """The quota of the key that asks, as it stands now; 401 when it is not a valid one."""
    quota = await run_in_threadpool(service.keys.authenticate, token)
    request.state.quota = quota  # for the headers of a refusal
    return quota


def bears(request: Request, secret: SecretStr) -> bool:
    """Whether the request says `Authorization: Bearer <secret>`; takes as long for a wrong one as for the right one."""
    scheme, _, offered = request.headers.get("authorization", "").partition(" ")
    known = secrets.compare_digest(offered.strip().encode(), secret.get_secret_value().encode())
    return known and scheme.lower() == "bearer"


async def administrator(request: Request, service: RunningService) -> None:
    """Let nobody pass but who has the admin key."""
    expected = service.settings.admin_key
    if expected is None:
        raise AdminDisabled(
            "This service was started without an admin key. Set TEACHER_ADMIN_KEY (16 characters or more) and start it "
            "again, or use `teacher-service keys`."
        )
    if not bears(request, expected):
        raise Unauthorized("This needs the key of TEACHER_ADMIN_KEY. Send it as `Authorization: Bearer <key>`.")


def quota_headers(quota: Quota) -> dict[str, str]:
    """The quota and the burst limits as structured fields (draft-ietf-httpapi-ratelimit-headers).

    A lifetime quota has no window, and never resets.
    """
    policy = [f'"quota";q={min(quota.limit, MAX_QUOTA)};qu="samples"']
    left = [f'"quota";r={min(quota.remaining, MAX_QUOTA)}']
    for name, bucket in (("requests", quota.requests), ("samples", quota.samples)):
        if bucket is not None:
            policy.append(f'"{name}-per-minute";q={bucket.per_minute};w={WINDOW_SECONDS};qu="{name}"')
            left.append(f'"{name}-per-minute";r={bucket.remaining};t={ceil(bucket.whole_in_seconds)}')
    if quota.terms.max_concurrent is not None:
        policy.append(f'"concurrent";q={quota.terms.max_concurrent};qu="concurrent-requests"')
        left.append(f'"concurrent";r={max(0, quota.terms.max_concurrent - quota.in_flight)}')
    return {"RateLimit-Policy": ", ".join(policy), "RateLimit": ", ".join(left)}


Caller = Annotated[Quota, Depends(current_quota)]
