"""`infer` of the Open Inference Protocol v2: the one route that costs anything."""

import asyncio
from datetime import UTC, datetime
from http import HTTPStatus
from time import perf_counter, time
from typing import Any, Final

import numpy as np
import structlog
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from shared import oip
from teacher_service.api.dependencies import Service, current_quota, quota_headers, running_service, token
from teacher_service.api.inference_request import Asked, read_request
from teacher_service.api.openapi.infer import DOCUMENTED
from teacher_service.api.routes.models import INPUT, check_model
from teacher_service.database.query_facts import Query
from teacher_service.errors.service_errors import (
    InvalidRequest,
    KeyChanged,
    OutputNotAllowed,
    RateLimited,
    ServiceError,
    Unauthorized,
)
from teacher_service.inference.batcher import Images, Rows
from teacher_service.inference.derived_outputs import DERIVED, derive
from teacher_service.inference.image_decoding import decode_pictures
from teacher_service.inference.query_runner import Answered
from teacher_service.ledger.ledger import Settled
from teacher_service.policy.output_policy import LOGITS
from teacher_service.policy.quota import Quota

_LOOKS_AT_THE_KEY: Final = 3
"""How often a key may be changed while one request is looked at, before the request is sent back."""

_log = structlog.get_logger(__name__)

router = APIRouter(prefix="/v2", tags=["open inference protocol"])


@router.post("/models/{model}/infer", **DOCUMENTED)
@router.post("/models/{model}/versions/{model_version}/infer", **DOCUMENTED)
async def infer(request: Request, model: str, model_version: str | None = None) -> Response:
    """The logits of raw images, or whichever outputs are asked for. Costs one sample of quota an image, whatever the
    outputs; every refusal costs nothing, but counts as a request against a burst limit.

    With an `Idempotency-Key` a repetition of the same payload is free and gets the same bytes, so every retry is
    safe, for as long as `X-Answer-Kept-Until` says. Without one, a retry after a lost answer is a new query and is
    charged again.

    400 malformed body; 401 no valid key; 403 an output that this key may not see; 404 no such model or version; 408 the
    body came too slowly; 409 the same key is being answered (retry); 410 the answer is not kept any more; 413 body too
    large; 415 unknown Content-Encoding; 422 Idempotency-Key used with another payload; 429 quota exhausted (do not
    retry) or too fast (retry); 500 the model failed; 503 overloaded or ledger down (retry).
    """
    started = request.state.started = perf_counter()
    # Asked for here, not as dependencies, over which FastAPI takes its time on every request.
    service, offered = await running_service(request), await token(request)
    # On the terms of the last time, which spares a look at the ledger: it refuses whatever was let pass on old ones.
    caller = service.keys.cached(offered) or await current_quota(request, service, offered)
    asked: Asked | ServiceError
    try:
        asked = await read_request(request, service.settings, model, model_version)
    except ServiceError as refusal:
        asked = refusal
    for _ in range(_LOOKS_AT_THE_KEY):
        try:
            if isinstance(asked, ServiceError):
                raise asked
            return _answer(service, await _sell(request, service, caller, asked), asked, started)
        except KeyChanged:
            caller = await current_quota(request, service, offered)
        except ServiceError as refusal:
            if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(refusal, RateLimited | Unauthorized):
                raise
            try:
                counted = service.ledger.count_refusal(caller.key_id, caller.revision)
                request.state.quota = refusal.quota = await asyncio.wrap_future(counted)
            except KeyChanged:
                caller = await current_quota(request, service, offered)
            else:
                raise
    raise KeyChanged


def note_refusal(request: Request, refusal: ServiceError) -> None:
    """Count a query that gets a problem instead of an answer, and log it."""
    service: Service = request.app.state.service
    started = getattr(request.state, "started", None)
    seconds = perf_counter() - started if started is not None else 0.0
    service.statistics.refused[refusal.kind].add(seconds)
    quota = refusal.quota or getattr(request.state, "quota", None)
    _log.info(
        "query",
        outcome=refusal.kind,
        status=refusal.status,
        key_id=quota.key_id if quota is not None else None,
        total_ms=_milliseconds(seconds),
    )


def _answer(service: Service, answered: Answered, asked: Asked, started: float) -> Response:
    settled, seconds, statistics = answered.settled, perf_counter() - started, service.statistics
    headers = {**settled.answer.headers, **quota_headers(settled.quota)}
    if settled.replayed:
        headers["Idempotency-Replayed"] = "true"
        statistics.replayed.add(seconds)
    else:
        statistics.count_answer(answered.samples, seconds, answered.queue_seconds, answered.compute_seconds)
    statistics.last_answer_at = time()
    if settled.kept_until is not None:
        headers["X-Answer-Kept-Until"] = datetime.fromtimestamp(settled.kept_until, UTC).isoformat(timespec="seconds")
    _log.info(
        "query",
        outcome="replayed" if settled.replayed else "answered",
        status=200,
        key_id=settled.quota.key_id,
        samples=answered.samples,
        outputs=",".join(asked.outputs),
        queue_ms=_milliseconds(answered.queue_seconds),
        compute_ms=_milliseconds(answered.compute_seconds),
        total_ms=_milliseconds(seconds),
        answer_bytes=len(settled.answer.content),
    )
    return Response(settled.answer.content, headers=headers)


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)


async def _sell(request: Request, service: Service, caller: Quota, asked: Asked) -> Answered:
    try:
        check_model(service, asked.model, asked.model_version)
        outputs = _outputs(service, caller, asked)
        images = await _images(service, asked.tensors)
    except ServiceError:
        # Settings or another model may have changed since it was paid for: then it is given.
        known = await _replay(service, caller, asked)
        if known is None:
            raise
        return Answered(known)
    computed = _computed(outputs)

    def encode(rows: Rows) -> oip.Body:
        found: dict[str, NDArray[Any]] = {**service.teacher.unpack(rows, computed)}
        if any(output in DERIVED for output in outputs):
            found |= derive(found[LOGITS], outputs, caller.terms.outputs)
        return oip.encode_response(
            {output: found[output] for output in outputs},
            binary=asked.binary(outputs),
            model_name=asked.model,
            model_version=service.teacher.fingerprint,
            request_id=asked.head.id,
        )

    query = Query(
        request_id=request.state.request_id,
        key_id=caller.key_id,
        model_name=asked.model,
        model_version=service.teacher.fingerprint,
        samples=len(images),
        payload_sha256=asked.payload_sha256,
        idempotency_key=asked.idempotency_key,
        outputs=",".join(outputs),
    )
    return await service.desk.answer(query, images, encode, computed, caller.revision, hung_up=request.receive)


async def _replay(service: Service, caller: Quota, asked: Asked) -> Settled | None:
    if asked.idempotency_key is None:
        return None
    return await run_in_threadpool(
        service.ledger.replay, caller.key_id, asked.idempotency_key, asked.payload_sha256, caller.revision
    )


def _outputs(service: Service, caller: Quota, asked: Asked) -> tuple[str, ...]:
    """What is to be told: what was asked for by name, or else the most telling that the key may see."""
    policy, offered = caller.terms.outputs, [*service.teacher.outputs, *sorted(DERIVED)]
    for output in asked.outputs:
        if output not in offered:
            raise InvalidRequest(f"outputs: expected names among {', '.join(offered)}, got {output[:80]!r}")
        if not policy.sees(output):
            raise OutputNotAllowed(
                f"outputs: this key may see {policy}, and {output!r} was asked for. Nothing was charged; ask the "
                "service's operator for a key that may see it (`teacher-service keys create --outputs`, or "
                "`keys create --features`)."
            )
    outputs = asked.outputs or policy.default
    if not outputs:
        raise InvalidRequest(f"outputs: expected the names of those wanted, as this key may see {policy}; got none")
    return outputs


def _computed(outputs: tuple[str, ...]) -> tuple[str, ...]:
    """What the network has to compute for these, in one order: what is derived follows from the logits."""
    computed = {LOGITS if output in DERIVED else output for output in outputs}
    return tuple(sorted(computed, key=lambda output: (output != LOGITS, output)))


async def _images(service: Service, tensors: dict[str, NDArray[Any]]) -> Images:
    if set(tensors) != {INPUT}:
        raise InvalidRequest(f"inputs: expected exactly one, called {INPUT!r}, got {sorted(tensors)}")
    images, expected = tensors[INPUT], service.teacher.image_shape
    encoded = images.dtype.kind == "O"
    if not encoded and images.dtype != np.uint8:
        raise InvalidRequest(
            f"{INPUT}.datatype: expected UINT8 (raw pixels, 0 to 255) or BYTES (PNG or JPEG files), got "
            f"{images.dtype.name.upper()}"
        )
    if encoded and images.shape not in ((images.size,), (images.size, 1)):
        raise InvalidRequest(f"{INPUT}.shape: expected [samples] of encoded pictures, got {images.shape}")
    if not encoded and (images.ndim != 4 or images.shape[1:] != expected):
        raise InvalidRequest(f"{INPUT}.shape: expected [samples, {', '.join(map(str, expected))}], got {images.shape}")
    most = service.settings.max_batch_size
    if not 1 <= len(images) <= most:
        raise InvalidRequest(f"{INPUT}.shape: expected 1 to {most} samples a request, got {len(images)}")
    if encoded:
        return await run_in_threadpool(decode_pictures, list(images.ravel()), expected)
    return images
