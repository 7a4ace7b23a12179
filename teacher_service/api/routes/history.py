"""`GET /v1/queries` and `/v1/usage`: the queries of the caller's key, and what it was charged.

Endpoints are not async: FastAPI runs them in threads, where they may block on the database.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from teacher_service.api.dependencies import Caller, State, quota_headers
from teacher_service.api.history_schemas import PageQuery, QueryPageBody, UsageBody, UsageQuery, usage
from teacher_service.api.openapi.errors import KEYED, error_responses
from teacher_service.errors.service_errors import InvalidRequest, LedgerUnavailable, Unauthorized

_ERRORS: Final = error_responses(InvalidRequest, Unauthorized, LedgerUnavailable)

router = APIRouter(prefix="/v1", tags=["history"])


@router.get("/queries", response_model=QueryPageBody, responses=_ERRORS, openapi_extra=KEYED)
def own_queries(state: State, caller: Caller, query: Annotated[PageQuery, Query()]) -> Response:
    """List the caller's own queries, newest first, one page at a time: pass `next` as `cursor` for the next page.

    Queries admitted meanwhile appear on no later page, and none appears twice. With `idempotency_key`, the list has the
    query that is charged or held under it; released attempts, which cost nothing, appear only without this filter.

    Costs nothing, counts against no limit, and is safe to repeat. 400: a parameter is invalid. 401: no valid key. 503:
    the ledger cannot be read; retry.
    """
    page = state.history.page(query.wanted(caller.key_id), query.limit, query.cursor)
    return _response(QueryPageBody.of(page).model_dump_json(), quota_headers(caller))


@router.get("/usage", response_model=UsageBody, responses=_ERRORS, openapi_extra=KEYED)
def own_usage(state: State, caller: Caller, query: Annotated[UsageQuery, Query()]) -> Response:
    """Count the queries and samples charged to the caller on each day (UTC), and in total; at most 366 days.

    A query counts on the day on which it was answered. Costs nothing, counts against no limit, and is safe to repeat.
    400: a parameter is invalid. 401: no valid key. 503: the ledger cannot be read; retry.
    """
    return _response(usage(state.history, query, caller.key_id).model_dump_json(), quota_headers(caller))


def _response(content: str, headers: dict[str, str]) -> Response:
    """A response encoded in this thread: FastAPI would encode it on the event loop."""
    return Response(content, headers=headers, media_type="application/json")
