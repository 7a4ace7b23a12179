"""`GET /v1/admin/queries` and `/v1/admin/usage`: the history of every key, for the holder of TEACHER_ADMIN_KEY.

Endpoints are not async: FastAPI runs them in threads, where they may block on the database.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response

from teacher_service.api.dependencies import State, require_admin_key
from teacher_service.api.history_schemas import KeyIdFilter, PageQuery, QueryPageBody, UsageBody, UsageQuery, usage
from teacher_service.api.openapi.errors import ADMIN_KEYED, error_responses
from teacher_service.errors.service_errors import AdminDisabled, InvalidRequest, LedgerUnavailable, Unauthorized

_ERRORS: Final = error_responses(InvalidRequest, AdminDisabled, Unauthorized, LedgerUnavailable)

router = APIRouter(prefix="/v1/admin", tags=["administration"], dependencies=[Depends(require_admin_key)])


class AdminPageQuery(PageQuery):
    """The filters of `PageQuery`, for one key or for all."""

    key_id: KeyIdFilter


class AdminUsageQuery(UsageQuery):
    """The range of `UsageQuery`, for one key or for all."""

    key_id: KeyIdFilter


@router.get("/queries", response_model=QueryPageBody, responses=_ERRORS, openapi_extra=ADMIN_KEYED)
def all_queries(state: State, query: Annotated[AdminPageQuery, Query()]) -> Response:
    """List the queries of every key, or of one, newest first, one page at a time: pass `next` as `cursor` for the next.

    An `idempotency_key` belongs to one key, so it requires `key_id`. Costs nothing, and is safe to repeat. 400: a
    parameter is invalid. 401: no admin key. 403: the admin API is disabled. 503: the ledger cannot be read; retry.
    """
    if query.idempotency_key is not None and query.key_id is None:
        raise InvalidRequest("key_id: expected the id of the key that used this idempotency_key, got none")
    page = state.history.page(query.wanted(query.key_id), query.limit, query.cursor)
    return Response(QueryPageBody.of(page).model_dump_json(), media_type="application/json")


@router.get("/usage", response_model=UsageBody, responses=_ERRORS, openapi_extra=ADMIN_KEYED)
def all_usage(state: State, query: Annotated[AdminUsageQuery, Query()]) -> Response:
    """Count the queries and samples charged on each day (UTC), and in total, to every key or to one; at most 366 days.

    Costs nothing, and is safe to repeat. 400: a parameter is invalid. 401: no admin key. 403: the admin API is
    disabled. 503: the ledger cannot be read; retry.
    """
    return Response(usage(state.history, query, query.key_id).model_dump_json(), media_type="application/json")
