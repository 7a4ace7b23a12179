"""What the service did so far: for Prometheus, and as the protocol's statistics extension. Costs nothing.

Both are open unless TEACHER_METRICS_KEY is set, which must then be sent as `Authorization: Bearer <key>`.
"""

from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from teacher_service.api.dependencies import RunningService, Service, bears
from teacher_service.api.openapi.errors import METRICS_KEYED, Responses, protocol_refusals, refusals
from teacher_service.api.prometheus import metrics_text
from teacher_service.api.routes.models import check_model
from teacher_service.errors.service_errors import LedgerUnavailable, Unauthorized, UnknownModel
from teacher_service.inference.counters import Duration

_TEXT: Final[Responses] = {200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}}
_METRICS: Final = _TEXT | refusals(Unauthorized, LedgerUnavailable)
_UNKNOWN: Final = protocol_refusals(Unauthorized, UnknownModel)


async def _may_look(request: Request, service: RunningService) -> None:
    expected = service.settings.metrics_key
    if expected is not None and not bears(request, expected):
        raise Unauthorized("Metrics need the key of TEACHER_METRICS_KEY. Send it as `Authorization: Bearer <key>`.")


router = APIRouter(tags=["observation"], dependencies=[Depends(_may_look)])


@router.get("/metrics", responses=_METRICS, response_class=Response, openapi_extra=METRICS_KEYED)
async def metrics(service: RunningService) -> Response:
    """Counters and gauges in Prometheus' text format, the quota of every key among them."""
    keys = await run_in_threadpool(service.keys.all)
    text = metrics_text(
        service.statistics,
        (quota for quota, _ in keys),
        model=service.settings.model_name,
        version=service.teacher.fingerprint,
        pending_samples=service.desk.pending_samples,
    )
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/v2/models/stats", responses=protocol_refusals(Unauthorized), openapi_extra=METRICS_KEYED)
async def all_statistics(service: RunningService) -> dict[str, Any]:
    """Statistics of the one model that there is."""
    return {"model_stats": [_statistics(service)]}


@router.get("/v2/models/{model}/stats", responses=_UNKNOWN, openapi_extra=METRICS_KEYED)
@router.get("/v2/models/{model}/versions/{model_version}/stats", responses=_UNKNOWN, openapi_extra=METRICS_KEYED)
async def model_statistics(service: RunningService, model: str, model_version: str | None = None) -> dict[str, Any]:
    """Counts and durations (nanoseconds) since the service started, as Triton gives them. 404: no such model."""
    check_model(service, model, model_version)
    return {"model_stats": [_statistics(service)]}


def _statistics(service: Service) -> dict[str, Any]:
    found = service.statistics
    failed = Duration(
        sum(refused.count for refused in found.refused.values()),
        sum(refused.seconds for refused in found.refused.values()),
    )
    return {
        "name": service.settings.model_name,
        "version": service.teacher.fingerprint,
        "last_inference": int(1000 * found.last_answer_at),
        "inference_count": found.samples,
        "execution_count": sum(taken.count for taken in found.passes.values()),
        "inference_stats": {
            "success": _nanoseconds(found.answered),
            "fail": _nanoseconds(failed),
            "queue": _nanoseconds(found.queued),
            "compute_input": _nanoseconds(Duration()),
            "compute_infer": _nanoseconds(found.computed),
            "compute_output": _nanoseconds(Duration()),
            "cache_hit": _nanoseconds(found.replayed),
            "cache_miss": _nanoseconds(Duration()),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _nanoseconds(Duration()),
                "compute_infer": _nanoseconds(taken),
                "compute_output": _nanoseconds(Duration()),
            }
            for size, taken in sorted(found.passes.items())
        ],
    }


def _nanoseconds(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": round(1e9 * duration.seconds)}
