"""`GET /v1/queries` and `/v1/usage`: what the key that asks has asked before, and what it was charged.

Endpoints are not async: FastAPI runs them in its threads, where they may wait for the database.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from teacher_service.api.dependencies import Caller, RunningService, quota_headers
from teacher_service.api.history_schemas import PageAsked, QueryPageBody, UsageAsked, UsageBody, usage
from teacher_service.api.openapi.errors import KEYED, refusals
from teacher_service.errors.service_errors import InvalidRequest, LedgerUnavailable, Unauthorized

_REFUSALS: Final = refusals(InvalidRequest, Unauthorized, LedgerUnavailable)

router = APIRouter(prefix="/v1", tags=["history"])


@router.get("/queries", response_model=QueryPageBody, responses=_REFUSALS, openapi_extra=KEYED)
def own_queries(service: RunningService, caller: Caller, asked: Annotated[PageAsked, Query()]) -> Response:
    """The caller's own queries, newest first, a page at a time: pass `next` as `cursor` for the next one.

    Queries that are admitted meanwhile are on no later page, and none is told twice. With `idempotency_key`, the query
    that is charged, or held, under it; attempts that were released, and cost nothing, are found without it.

    Costs nothing, counts against no limit, and is safe to repeat. 400: a parameter is wrong. 401: no valid key. 503:
    the ledger cannot be read; try again.
    """
    page = service.history.page(asked.wanted(caller.key_id), asked.limit, asked.cursor)
    return _written(QueryPageBody.of(page).model_dump_json(), quota_headers(caller))


@router.get("/usage", response_model=UsageBody, responses=_REFUSALS, openapi_extra=KEYED)
def own_usage(service: RunningService, caller: Caller, asked: Annotated[UsageAsked, Query()]) -> Response:
    """What the caller was charged on each day (UTC), and altogether, in at most 366 days.

    A query counts on the day on which it was answered. Costs nothing, counts against no limit, and is safe to repeat.
    400: a parameter is wrong. 401: no valid key. 503: the ledger cannot be read; try again.
    """
    return _written(usage(service.history, asked, caller.key_id).model_dump_json(), quota_headers(caller))


def _written(content: str, headers: dict[str, str]) -> Response:
    """Written here, in a thread: FastAPI would do it on the event loop."""
    return Response(content, headers=headers, media_type="application/json")
