"""`GET /v1/admin/queries` and `/v1/admin/usage`: the history of every key, for whoever has TEACHER_ADMIN_KEY.

Endpoints are not async: FastAPI runs them in its threads, where they may wait for the database.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response

from teacher_service.api.dependencies import RunningService, administrator
from teacher_service.api.history_schemas import KeyIdFilter, PageAsked, QueryPageBody, UsageAsked, UsageBody, usage
from teacher_service.api.openapi.errors import ADMIN_KEYED, refusals
from teacher_service.errors.service_errors import AdminDisabled, InvalidRequest, LedgerUnavailable, Unauthorized

_REFUSALS: Final = refusals(InvalidRequest, AdminDisabled, Unauthorized, LedgerUnavailable)

router = APIRouter(prefix="/v1/admin", tags=["administration"], dependencies=[Depends(administrator)])


class AdminPageAsked(PageAsked):
    """The same, of one key or of all."""

    key_id: KeyIdFilter


class AdminUsageAsked(UsageAsked):
    """The same, of one key or of all."""

    key_id: KeyIdFilter


@router.get("/queries", response_model=QueryPageBody, responses=_REFUSALS, openapi_extra=ADMIN_KEYED)
def all_queries(service: RunningService, asked: Annotated[AdminPageAsked, Query()]) -> Response:
    """Every key's queries, or one key's, newest first, a page at a time: pass `next` as `cursor` for the next one.

    An `idempotency_key` is one key's own, so it needs `key_id`. Costs nothing, and is safe to repeat. 400: a parameter
    is wrong. 401: no admin key. 403: the service has none. 503: the ledger cannot be read; try again.
    """
    if asked.idempotency_key is not None and asked.key_id is None:
        raise InvalidRequest("key_id: expected the key whose idempotency_key it is, got none")
    page = service.history.page(asked.wanted(asked.key_id), asked.limit, asked.cursor)
    return Response(QueryPageBody.of(page).model_dump_json(), media_type="application/json")


@router.get("/usage", response_model=UsageBody, responses=_REFUSALS, openapi_extra=ADMIN_KEYED)
def all_usage(service: RunningService, asked: Annotated[AdminUsageAsked, Query()]) -> Response:
    """What was charged on each day (UTC), and altogether, to every key or to one, in at most 366 days.

    Costs nothing, and is safe to repeat. 400: a parameter is wrong. 401: no admin key. 403: the service has none. 503:
    the ledger cannot be read; try again.
    """
    return Response(usage(service.history, asked, asked.key_id).model_dump_json(), media_type="application/json")
