"""Metrics since the service started: for Prometheus, and as the protocol's statistics extension. They cost nothing.

Both are open unless TEACHER_METRICS_KEY is set, which must then be sent as `Authorization: Bearer <key>`.
"""

from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from teacher_service.api.dependencies import AppState, State, has_bearer_token
from teacher_service.api.openapi.errors import METRICS_KEYED, Responses, error_responses, protocol_error_responses
from teacher_service.api.prometheus import metrics_text
from teacher_service.api.routes.models import check_model
from teacher_service.errors.service_errors import LedgerUnavailable, Unauthorized, UnknownModel
from teacher_service.inference.counters import Duration

_TEXT: Final[Responses] = {200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}}
_METRICS: Final = _TEXT | error_responses(Unauthorized, LedgerUnavailable)
_UNKNOWN: Final = protocol_error_responses(Unauthorized, UnknownModel)


async def _require_metrics_key(request: Request, state: State) -> None:
    expected = state.settings.metrics_key
    if expected is not None and not has_bearer_token(request, expected):
        raise Unauthorized("Metrics require TEACHER_METRICS_KEY. Send it as `Authorization: Bearer <key>`.")


router = APIRouter(tags=["observation"], dependencies=[Depends(_require_metrics_key)])


@router.get("/metrics", responses=_METRICS, response_class=Response, openapi_extra=METRICS_KEYED)
async def metrics(state: State) -> Response:
    """Counters and gauges in Prometheus' text format, including the quota of every key.

    Costs nothing, and is safe to repeat. 401: TEACHER_METRICS_KEY is set, and the request does not have it. 503: the
    ledger cannot be read; retry.
    """
    keys = await run_in_threadpool(state.keys.all)
    text = metrics_text(
        state.counters,
        (quota for quota, _ in keys),
        model=state.settings.model_name,
        version=state.teacher.fingerprint,
        pending_samples=state.query_runner.pending_samples,
    )
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/v2/models/stats", responses=protocol_error_responses(Unauthorized), openapi_extra=METRICS_KEYED)
async def all_statistics(state: State) -> dict[str, Any]:
    """Counts and durations (nanoseconds) of the one model served, since the service started, in Triton's format.

    Costs nothing, and is safe to repeat. 401: TEACHER_METRICS_KEY is set, and the request does not have it.
    """
    return {"model_stats": [_statistics(state)]}


@router.get("/v2/models/{model}/stats", responses=_UNKNOWN, openapi_extra=METRICS_KEYED)
@router.get("/v2/models/{model}/versions/{model_version}/stats", responses=_UNKNOWN, openapi_extra=METRICS_KEYED)
async def model_statistics(state: State, model: str, model_version: str | None = None) -> dict[str, Any]:
    """Counts and durations (nanoseconds) of a model since the service started, in Triton's format.

    Costs nothing, and is safe to repeat. 401: TEACHER_METRICS_KEY is set, and the request does not have it. 404: no
    such model or version.
    """
    check_model(state, model, model_version)
    return {"model_stats": [_statistics(state)]}


def _statistics(state: AppState) -> dict[str, Any]:
    counters = state.counters
    failed = Duration(
        sum(rejected.count for rejected in counters.rejected.values()),
        sum(rejected.seconds for rejected in counters.rejected.values()),
    )
    return {
        "name": state.settings.model_name,
        "version": state.teacher.fingerprint,
        "last_inference": int(1000 * counters.last_answer_at),
        "inference_count": counters.samples,
        "execution_count": sum(taken.count for taken in counters.passes.values()),
        "inference_stats": {
            "success": _nanoseconds(counters.answered),
            "fail": _nanoseconds(failed),
            "queue": _nanoseconds(counters.queued),
            "compute_input": _nanoseconds(Duration()),
            "compute_infer": _nanoseconds(counters.computed),
            "compute_output": _nanoseconds(Duration()),
            "cache_hit": _nanoseconds(counters.replayed),
            "cache_miss": _nanoseconds(Duration()),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _nanoseconds(Duration()),
                "compute_infer": _nanoseconds(taken),
                "compute_output": _nanoseconds(Duration()),
            }
            for size, taken in sorted(counters.passes.items())
        ],
    }


def _nanoseconds(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": round(1e9 * duration.seconds)}
