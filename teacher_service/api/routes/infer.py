"""`infer` of the Open Inference Protocol v2: the one route that costs anything."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from time import perf_counter, time
from typing import Any, Final, TypeVar

import structlog
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from shared import oip
from shared.output_kinds import LOGITS
from shared.times import iso
from teacher_service.api.dependencies import Service, current_quota, quota_headers, running_service, token
from teacher_service.api.inference_request import Asked, read_request
from teacher_service.api.openapi.infer import DOCUMENTED
from teacher_service.api.routes.models import check_model
from teacher_service.database.query_facts import Query
from teacher_service.errors.service_errors import KeyChanged, RateLimited, ServiceError, Unauthorized
from teacher_service.inference.batcher import Images, Rows
from teacher_service.inference.derived_outputs import DERIVED, computed_outputs, derive
from teacher_service.inference.image_decoding import decode_pictures
from teacher_service.inference.query_runner import Answered
from teacher_service.inference.request_checks import checked_images, checked_outputs
from teacher_service.ledger.ledger import Settled
from teacher_service.policy.quota import Quota

_MAX_ATTEMPTS: Final = 3
"""Attempts of one request whose key changes meanwhile."""
_NOT_COUNTED: Final = (KeyChanged, RateLimited, Unauthorized)
"""Rejections that do not count against the burst limit."""
_T = TypeVar("_T")

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
    # Called directly: resolved as FastAPI dependencies, they would slow every request down.
    service, bearer_token = await running_service(request), await token(request)
    # Cached terms save a read of the ledger; it raises KeyChanged for a request that was admitted on outdated ones.
    caller = service.keys.cached(bearer_token) or await current_quota(request, service, bearer_token)
    authenticate = partial(current_quota, request, service, bearer_token)
    try:
        asked = await read_request(request, service.settings, model, model_version)
    except ServiceError as error:
        await _on_current_terms(caller, authenticate, partial(_count_rejection, request, service, error))
        raise
    answered = await _on_current_terms(caller, authenticate, partial(_replay_or_run, request, service, asked))
    return _respond(service, answered, asked, started)


async def _on_current_terms(
    caller: Quota, authenticate: Callable[[], Awaitable[Quota]], step: Callable[[Quota], Awaitable[_T]]
) -> _T:
    """Run `step` on the caller's terms. If the key changed meanwhile, authenticate and run it again, a few times.

    Raises:
        KeyChanged: the key changed during each of `_MAX_ATTEMPTS` attempts.
    """
    for _ in range(_MAX_ATTEMPTS):
        try:
            return await step(caller)
        except KeyChanged:
            caller = await authenticate()
    raise KeyChanged


async def _replay_or_run(request: Request, service: Service, asked: Asked, caller: Quota) -> Answered:
    """Check the request, then replay its stored answer or run it; count it against the burst limit if rejected."""
    try:
        try:
            outputs, images = await _check(service, asked, caller)
        except ServiceError:
            # The request may have been paid for under other settings or another model: then replay its answer.
            stored = await _stored_answer(service, asked, caller)
            if stored is None:
                raise
            return Answered(stored)
        return await _run(request, service, asked, caller, outputs, images)
    except ServiceError as error:
        await _count_rejection(request, service, error, caller)
        raise


async def _check(service: Service, asked: Asked, caller: Quota) -> tuple[tuple[str, ...], Images]:
    """The outputs to return and the images uint8 `[samples, C, H, W]`, decoded if they were encoded."""
    check_model(service, asked.model, asked.model_version)
    outputs = checked_outputs(asked.outputs, service.teacher, caller.terms.outputs)
    images = checked_images(asked.tensors, service.teacher.image_shape, service.settings.max_batch_size)
    if images.dtype.kind == "O":
        images = await run_in_threadpool(decode_pictures, images.tolist(), service.teacher.image_shape)
    return outputs, images


async def _stored_answer(service: Service, asked: Asked, caller: Quota) -> Settled | None:
    if asked.idempotency_key is None:
        return None
    return await run_in_threadpool(
        service.ledger.replay, caller.key_id, asked.idempotency_key, asked.payload_sha256, caller.revision
    )


def _run(
    request: Request, service: Service, asked: Asked, caller: Quota, outputs: tuple[str, ...], images: Images
) -> Awaitable[Answered]:
    """Hold the samples, run the model, charge. The ledger replays a request whose Idempotency-Key was answered."""
    computed = computed_outputs(outputs)

    def encode(rows: Rows) -> oip.Body:
        values: dict[str, NDArray[Any]] = {**service.teacher.unpack(rows, computed)}
        if any(output in DERIVED for output in outputs):
            values |= derive(values[LOGITS], outputs, caller.terms.outputs)
        return oip.encode_response(
            {output: values[output] for output in outputs},
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
    return service.desk.answer(query, images, encode, computed, caller.revision, hung_up=request.receive)


async def _count_rejection(request: Request, service: Service, error: ServiceError, caller: Quota) -> None:
    """Count a request that was rejected for its content against the burst limit.

    Failures of the service do not count, nor do rejections for the key or for the limit itself.

    Raises:
        RateLimited, Unauthorized, KeyChanged: from the ledger; this error replaces the rejection.
    """
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(error, _NOT_COUNTED):
        return
    counted = service.ledger.count_rejection(caller.key_id, caller.revision)
    request.state.quota = error.quota = await asyncio.wrap_future(counted)


def _respond(service: Service, answered: Answered, asked: Asked, started: float) -> Response:
    settled, seconds, statistics = answered.settled, perf_counter() - started, service.statistics
    headers = {**settled.answer.headers, **quota_headers(settled.quota)}
    if settled.replayed:
        headers["Idempotency-Replayed"] = "true"
        statistics.replayed.add(seconds)
    else:
        statistics.count_answer(answered.samples, seconds, answered.queue_seconds, answered.compute_seconds)
    statistics.last_answer_at = time()
    if settled.kept_until is not None:
        headers["X-Answer-Kept-Until"] = iso(settled.kept_until)
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


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
