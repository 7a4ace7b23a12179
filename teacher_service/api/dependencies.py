"""Dependencies of the routes: the parts of the running service, and the authenticated caller."""

import secrets
from dataclasses import dataclass
from math import ceil
from typing import Annotated

from fastapi import Depends, Request
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool

from teacher_service.errors.service_errors import AdminDisabled, Unauthorized
from teacher_service.inference.counters import Counters
from teacher_service.inference.query_runner import QueryRunner
from teacher_service.inference.readiness import Readiness
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.ledger import Ledger
from teacher_service.models import Teacher
from teacher_service.policy.quota import MAX_QUOTA, Quota
from teacher_service.policy.rate_limit import WINDOW_SECONDS
from teacher_service.query_log.history import History
from teacher_service.settings import Settings


@dataclass(frozen=True)
class AppState:
    """The parts of a running service."""

    settings: Settings
    teacher: Teacher
    keys: KeyStore
    ledger: Ledger
    query_runner: QueryRunner
    readiness: Readiness
    counters: Counters
    history: History


async def app_state(request: Request) -> AppState:  # async, or FastAPI would run it in a thread
    """The parts of the service, as the application's lifespan opened them."""
    state = request.app.state.service
    if not isinstance(state, AppState):
        raise TypeError("app.state.service: expected an AppState, got none; start the application (its lifespan) first")
    return state


async def token(request: Request) -> str:
    """The key in `Authorization: Bearer <key>` or `X-API-Key: <key>`; 401 without one."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    key = credentials.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    if not key:
        raise Unauthorized("An API key is required. Send it as `Authorization: Bearer <key>`.")
    return key


State = Annotated[AppState, Depends(app_state)]
Token = Annotated[str, Depends(token)]


async def current_quota(request: Request, state: State, token: Token) -> Quota:
    """The current quota and terms of the caller's key; 401 if the key is not valid."""
    quota = await run_in_threadpool(state.keys.authenticate, token)
    request.state.quota = quota  # for the headers of a problem response
    return quota


def has_bearer_token(request: Request, secret: SecretStr) -> bool:
    """Whether the request has `Authorization: Bearer <secret>`, compared in constant time."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    matches = secrets.compare_digest(token.strip().encode(), secret.get_secret_value().encode())
    return matches and scheme.lower() == "bearer"


async def require_admin_key(request: Request, state: State) -> None:
    """Reject a request without the admin key."""
    expected = state.settings.admin_key
    if expected is None:
        raise AdminDisabled(
            "This service was started without an admin key. Set TEACHER_ADMIN_KEY (16 characters or more) and start it "
            "again, or use `teacher-service keys`."
        )
    if not has_bearer_token(request, expected):
        raise Unauthorized("This needs the key of TEACHER_ADMIN_KEY. Send it as `Authorization: Bearer <key>`.")


def quota_headers(quota: Quota) -> dict[str, str]:
    """`RateLimit` headers for the quota and the rate limits (draft-ietf-httpapi-ratelimit-headers).

    A lifetime quota has no window and never resets.
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
