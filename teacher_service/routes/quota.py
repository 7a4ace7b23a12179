"""`GET /v1/quota`: what this key may still ask."""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from teacher_service.routes.service import Caller, quota_headers

router = APIRouter(tags=["quota"])


class QuotaBody(BaseModel):
    """A key's lifetime quota. `remaining` is what enforcement would admit next."""

    key_id: str
    name: str
    unit: str = "samples"
    limit: int
    used: int
    reserved: int
    remaining: int
    features: bool
    """Whether the key may ask for intermediate features besides the logits."""


@router.get("/v1/quota")
async def quota(response: Response, caller: Caller) -> QuotaBody:
    """The caller's lifetime quota, in samples.

    Costs nothing and is safe to repeat. 401: no valid key. 503: the ledger cannot be read; try again.
    """
    response.headers.update(quota_headers(caller))
    return QuotaBody(
        key_id=caller.key_id,
        name=caller.name,
        limit=caller.limit,
        used=caller.used,
        reserved=caller.reserved,
        remaining=caller.remaining,
        features=caller.features,
    )
