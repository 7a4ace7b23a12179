"""`GET /v1/quota`: the remaining quota and limits of the caller's key."""

from datetime import datetime
from typing import Self

from fastapi import APIRouter, Response
from pydantic import BaseModel

from shared.times import utc
from teacher_service.api.dependencies import Caller, quota_headers
from teacher_service.api.openapi.errors import KEYED, error_responses
from teacher_service.errors.service_errors import LedgerUnavailable, Unauthorized
from teacher_service.policy.quota import Quota
from teacher_service.policy.rate_limit import Bucket

router = APIRouter(tags=["quota"])


class LimitBody(BaseModel):
    """A rate limit and what remains of it now."""

    limit: int
    remaining: int
    whole_in_seconds: float
    """Time until the limit is fully refilled."""

    @classmethod
    def of(cls, bucket: Bucket | None) -> Self | None:
        """The limit of this bucket; None without one."""
        if bucket is None:
            return None
        return cls(limit=bucket.per_minute, remaining=bucket.remaining, whole_in_seconds=bucket.whole_in_seconds)


class QuotaBody(BaseModel):
    """A key's lifetime quota and limits, as they would apply to its next request."""

    key_id: str
    name: str
    holder: str
    unit: str = "samples"
    limit: int
    used: int
    reserved: int
    remaining: int
    requests_per_minute: LimitBody | None
    samples_per_minute: LimitBody | None
    max_concurrent: int | None
    in_flight: int
    """Requests in flight."""
    expires_at: datetime | None
    outputs: str
    """The outputs that the key may see."""
    features: bool
    """Whether the key may see intermediate features."""

    @classmethod
    def of(cls, quota: Quota) -> Self:
        """The response body for a quota."""
        terms = quota.terms
        return cls(
            key_id=quota.key_id,
            name=quota.name,
            holder=terms.holder,
            limit=quota.limit,
            used=quota.used,
            reserved=quota.reserved,
            remaining=quota.remaining,
            requests_per_minute=LimitBody.of(quota.requests),
            samples_per_minute=LimitBody.of(quota.samples),
            max_concurrent=terms.max_concurrent,
            in_flight=quota.in_flight,
            expires_at=None if terms.expires_at is None else utc(terms.expires_at),
            outputs=str(terms.outputs),
            features=terms.outputs.sees_features,
        )


@router.get("/v1/quota", responses=error_responses(Unauthorized, LedgerUnavailable), openapi_extra=KEYED)
async def quota(response: Response, caller: Caller) -> QuotaBody:
    """The caller's lifetime quota, in samples, and its rate limits.

    Costs nothing, counts against no limit, and is safe to repeat. 401: no valid key. 503: the ledger cannot be read;
    retry.
    """
    response.headers.update(quota_headers(caller))
    return QuotaBody.of(caller)
