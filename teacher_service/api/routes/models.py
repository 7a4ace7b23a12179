"""The routes of the Open Inference Protocol v2 that cost nothing: health, and the description of the model."""

from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter

from shared import oip
from shared.output_kinds import LABEL, LOG_PROBABILITIES, PROBABILITIES, TOP_K
from teacher_service.api.dependencies import AppState, State
from teacher_service.api.openapi.errors import protocol_error_responses
from teacher_service.errors.service_errors import Draining, LedgerUnavailable, ServiceError, UnknownModel
from teacher_service.inference.request_checks import INPUT
from teacher_service.models import Teacher
from teacher_service.policy.output_policy import TOP_K_INDICES

_NOT_READY: Final = protocol_error_responses(Draining, LedgerUnavailable)
_UNKNOWN: Final = protocol_error_responses(UnknownModel)

router = APIRouter(prefix="/v2", tags=["open inference protocol"])


@router.get("", responses=protocol_error_responses())
async def server_metadata() -> dict[str, Any]:
    """The server's name, version and protocol extensions. Costs nothing, and requires no key."""
    return {
        "name": "tuition-teacher",
        "version": version("tuition"),
        "extensions": [oip.BINARY_EXTENSION, oip.FINGERPRINT_EXTENSION, oip.IDEMPOTENCY_EXTENSION],
    }


@router.get("/health/live", responses=protocol_error_responses())
async def live(state: State) -> dict[str, bool]:
    """Whether the process is alive, and whether it is ready; always 200. Costs nothing, and requires no key."""
    try:
        await state.readiness.check()
    except ServiceError:
        return {"live": True, "ready": False}
    return {"live": True, "ready": True}


@router.get("/health/ready", responses=_NOT_READY)
async def ready(state: State) -> dict[str, bool]:
    """Whether the next query would be counted and answered. Costs nothing, and requires no key.

    503: the ledger cannot be written, or the service is about to stop; retry.
    """
    await state.readiness.check()
    return {"live": True, "ready": True}


@router.get("/models/{model}", responses=_UNKNOWN)
@router.get("/models/{model}/versions/{model_version}", responses=_UNKNOWN)
async def model_metadata(state: State, model: str, model_version: str | None = None) -> dict[str, Any]:
    """The model's inputs, outputs and class names. Costs nothing, and requires no key. 404: no such model or version.

    `parameters.class_names` names the classes in the order of the logits; `parameters.max_batch_size` is the most
    images in a request.

    `GET /v1/quota` lists the outputs that a key may see. Images may be raw pixels (UINT8) of this shape, or PNG or JPEG
    files (BYTES, `[samples]`).
    """
    check_model(state, model, model_version)
    teacher = state.teacher
    return {
        "name": model,
        "versions": [teacher.fingerprint],
        "platform": teacher.platform,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *teacher.image_shape]}],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": [-1, *shape]} for name, shape in teacher.outputs.items()
        ]
        + _derived(teacher),
        "parameters": {"max_batch_size": state.settings.max_batch_size, oip.CLASS_NAMES: teacher.card.class_names},
    }


@router.get("/models/{model}/ready", responses=_UNKNOWN | _NOT_READY)
@router.get("/models/{model}/versions/{model_version}/ready", responses=_UNKNOWN | _NOT_READY)
async def model_ready(state: State, model: str, model_version: str | None = None) -> dict[str, Any]:
    """Whether the model is ready. Costs nothing, and requires no key.

    404: no such model or version. 503: the ledger cannot be written, or the service is about to stop; retry.
    """
    check_model(state, model, model_version)
    await ready(state)
    return {"name": model, "ready": True}


def check_model(state: AppState, model: str, model_version: str | None) -> None:
    """Raise UnknownModel unless this model is served, and in this version if one is named."""
    served, fingerprint = state.settings.model_name, state.teacher.fingerprint
    if model != served:
        raise UnknownModel(f"model: expected {served!r}, got {model[:80]!r}")
    if model_version not in (None, fingerprint):
        raise UnknownModel(f"version: expected {fingerprint!r} of {served!r}, got {str(model_version)[:80]!r}")


def _derived(teacher: Teacher) -> list[dict[str, Any]]:
    classes = teacher.card.num_classes
    return [
        {"name": LOG_PROBABILITIES, "datatype": "FP32", "shape": [-1, classes]},
        {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, classes]},
        {"name": TOP_K, "datatype": "FP32", "shape": [-1, -1]},
        {"name": TOP_K_INDICES, "datatype": "INT64", "shape": [-1, -1]},
        {"name": LABEL, "datatype": "INT64", "shape": [-1]},
    ]
