"""The Open Inference Protocol v2, all that costs nothing: health, and what the model is."""

from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter

from shared import oip
from shared.output_kinds import LABEL, LOG_PROBABILITIES, PROBABILITIES, TOP_K
from teacher_service.api.dependencies import RunningService, Service
from teacher_service.api.openapi.errors import protocol_refusals
from teacher_service.errors.service_errors import Draining, LedgerUnavailable, ServiceError, UnknownModel
from teacher_service.inference.request_checks import INPUT
from teacher_service.models import Teacher
from teacher_service.policy.output_policy import TOP_K_INDICES

_NOT_READY: Final = protocol_refusals(Draining, LedgerUnavailable)
_UNKNOWN: Final = protocol_refusals(UnknownModel)

router = APIRouter(prefix="/v2", tags=["open inference protocol"])


@router.get("", responses=protocol_refusals())
async def server_metadata() -> dict[str, Any]:
    """The server's name, version and protocol extensions. Costs nothing, needs no key."""
    return {
        "name": "tuition-teacher",
        "version": version("tuition"),
        "extensions": [oip.BINARY_EXTENSION, oip.FINGERPRINT_EXTENSION, oip.IDEMPOTENCY_EXTENSION],
    }


@router.get("/health/live", responses=protocol_refusals())
async def live(service: RunningService) -> dict[str, bool]:
    """Whether the process answers, and whether it is ready. Costs nothing, needs no key."""
    try:
        await service.readiness.check()
    except ServiceError:
        return {"live": True, "ready": False}
    return {"live": True, "ready": True}


@router.get("/health/ready", responses=_NOT_READY)
async def ready(service: RunningService) -> dict[str, bool]:
    """Whether the next query would be counted and answered. 503 when the ledger cannot be written or the service is
    about to stop. Costs nothing, needs no key.
    """
    await service.readiness.check()
    return {"live": True, "ready": True}


@router.get("/models/{model}", responses=_UNKNOWN)
@router.get("/models/{model}/versions/{model_version}", responses=_UNKNOWN)
async def model_metadata(service: RunningService, model: str, model_version: str | None = None) -> dict[str, Any]:
    """The model's inputs and outputs. Costs nothing, needs no key. 404: no such model or version.

    `GET /v1/quota` says which of the outputs a key may see. Images may be raw pixels (UINT8) in this shape, or encoded
    as PNG or JPEG (BYTES, `[samples]`).
    """
    check_model(service, model, model_version)
    teacher = service.teacher
    return {
        "name": model,
        "versions": [teacher.fingerprint],
        "platform": teacher.platform,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *teacher.image_shape]}],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": [-1, *shape]} for name, shape in teacher.outputs.items()
        ]
        + _derived(teacher),
        "parameters": {"max_batch_size": service.settings.max_batch_size},
    }


@router.get("/models/{model}/ready", responses=_UNKNOWN | _NOT_READY)
@router.get("/models/{model}/versions/{model_version}/ready", responses=_UNKNOWN | _NOT_READY)
async def model_ready(service: RunningService, model: str, model_version: str | None = None) -> dict[str, Any]:
    """Whether the model would answer. 404: no such model or version; 503: not ready. Costs nothing."""
    check_model(service, model, model_version)
    await ready(service)
    return {"name": model, "ready": True}


def check_model(service: Service, model: str, model_version: str | None) -> None:
    """Raise UnknownModel unless the model is served under this name, in this version when one is named."""
    served, fingerprint = service.settings.model_name, service.teacher.fingerprint
    if model != served:
        raise UnknownModel(f"model: expected {served!r}, got {model[:80]!r}")
    if model_version not in (None, fingerprint):
        raise UnknownModel(f"version: {served!r} is served in version {fingerprint!r}, not {str(model_version)[:80]!r}")


def _derived(teacher: Teacher) -> list[dict[str, Any]]:
    classes = teacher.card.num_classes
    return [
        {"name": LOG_PROBABILITIES, "datatype": "FP32", "shape": [-1, classes]},
        {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, classes]},
        {"name": TOP_K, "datatype": "FP32", "shape": [-1, -1]},
        {"name": TOP_K_INDICES, "datatype": "INT64", "shape": [-1, -1]},
        {"name": LABEL, "datatype": "INT64", "shape": [-1]},
    ]
