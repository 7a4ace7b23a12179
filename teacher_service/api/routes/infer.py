"""`infer` of the Open Inference Protocol v2: the only route that costs samples.

A request is authenticated, read, checked, then replayed or run, and answered.
"""

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
from teacher_service.api.dependencies import AppState, app_state, current_quota, quota_headers, token
from teacher_service.api.inference_request import InferenceRequest, read_inference_request
from teacher_service.api.openapi.infer import DOCUMENTED
from teacher_service.api.routes.models import check_model
from teacher_service.database.query_facts import Query
from teacher_service.errors.service_errors import KeyChanged, RateLimited, ServiceError, Unauthorized
from teacher_service.inference.batcher import Images, Rows
from teacher_service.inference.derived_outputs import DERIVED, computed_outputs, derive
from teacher_service.inference.image_decoding import decode_images
from teacher_service.inference.query_runner import QueryResult
from teacher_service.inference.request_checks import checked_images, checked_outputs
from teacher_service.ledger.ledger import Settled
from teacher_service.policy.quota import Quota

_MAX_ATTEMPTS: Final = 3
"""Attempts of one request whose key changes meanwhile."""
_NOT_COUNTED: Final = (KeyChanged, RateLimited, Unauthorized)
"""Rejections that do not count against the rate limit."""
_T = TypeVar("_T")

_log = structlog.get_logger(__name__)

router = APIRouter(prefix="/v2", tags=["open inference protocol"])


@router.post("/models/{model}/infer", **DOCUMENTED)
@router.post("/models/{model}/versions/{model_version}/infer", **DOCUMENTED)
async def infer(request: Request, model: str, model_version: str | None = None) -> Response:
    """Compute the requested outputs of images; by default the logits, or what the key may see instead.

    Costs one sample of quota per image, whatever the outputs. An error costs nothing unless the page of its `type`
    says otherwise, but a rejected request counts against the key's rate limit of requests.

    With an `Idempotency-Key`, a repetition of the same payload is free and gets the same bytes, so every retry is safe
    until the time in `X-Answer-Kept-Until`. Without one, a retry after a lost response is a new query and is charged
    again.

    400 malformed body; 401 no valid key; 403 this key may not see an output; 404 no such model or version; 408 the body
    arrived too slowly; 409 the same Idempotency-Key is in flight, or the API key was changed (retry); 410 the stored
    answer has expired; 413 body too large; 415 unknown Content-Encoding; 422 Idempotency-Key used with another payload;
    429 quota exhausted (do not retry) or rate limit exceeded (retry); 500 the model failed (retry); 503 overloaded, or
    ledger unavailable (retry).
    """
    started = request.state.started = perf_counter()
    # Called directly: resolved as FastAPI dependencies, they would slow every request down.
    state, bearer_token = await app_state(request), await token(request)
    # Cached terms save a read of the ledger; it raises KeyChanged for a request that was admitted on outdated ones.
    caller = state.keys.cached(bearer_token) or await current_quota(request, state, bearer_token)
    authenticate = partial(current_quota, request, state, bearer_token)
    try:
        inference_request = await read_inference_request(request, state.settings, model, model_version)
    except ServiceError as error:
        await _on_current_terms(caller, authenticate, partial(_count_rejection, request, state, error))
        raise
    result = await _on_current_terms(caller, authenticate, partial(_replay_or_run, request, state, inference_request))
    return _respond(state, result, inference_request, started)


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


async def _replay_or_run(
    request: Request, state: AppState, inference_request: InferenceRequest, caller: Quota
) -> QueryResult:
    """Check the request, then replay its stored answer or run it; count it against the rate limit if rejected."""
    try:
        try:
            outputs, images = await _check(state, inference_request, caller)
        except ServiceError:
            # If the request was paid for under other settings or another model, its answer is replayed.
            stored = await _stored_answer(state, inference_request, caller)
            if stored is None:
                raise
            return QueryResult(stored)
        return await _run(request, state, inference_request, caller, outputs, images)
    except ServiceError as error:
        await _count_rejection(request, state, error, caller)
        raise


async def _check(state: AppState, inference_request: InferenceRequest, caller: Quota) -> tuple[tuple[str, ...], Images]:
    """The outputs to return and the images uint8 `[samples, C, H, W]`, decoded if they were encoded."""
    check_model(state, inference_request.model, inference_request.model_version)
    outputs = checked_outputs(inference_request.outputs, state.teacher, caller.terms.outputs)
    images = checked_images(inference_request.tensors, state.teacher.image_shape, state.settings.max_batch_size)
    if images.dtype.kind == "O":
        images = await run_in_threadpool(decode_images, images.tolist(), state.teacher.image_shape)
    return outputs, images


async def _stored_answer(state: AppState, inference_request: InferenceRequest, caller: Quota) -> Settled | None:
    if inference_request.idempotency_key is None:
        return None
    return await run_in_threadpool(
        state.ledger.replay,
        caller.key_id,
        inference_request.idempotency_key,
        inference_request.payload_sha256,
        caller.revision,
    )


def _run(
    request: Request,
    state: AppState,
    inference_request: InferenceRequest,
    caller: Quota,
    outputs: tuple[str, ...],
    images: Images,
) -> Awaitable[QueryResult]:
    """Hold the samples, run the model, charge. The ledger replays a request whose Idempotency-Key was answered."""
    computed = computed_outputs(outputs)

    def encode(rows: Rows) -> oip.Body:
        values: dict[str, NDArray[Any]] = {**state.teacher.unpack(rows, computed)}
        if any(output in DERIVED for output in outputs):
            values |= derive(values[LOGITS], outputs, caller.terms.outputs)
        return oip.encode_response(
            {output: values[output] for output in outputs},
            binary=inference_request.binary(outputs),
            model_name=inference_request.model,
            model_version=state.teacher.fingerprint,
            request_id=inference_request.head.id,
        )

    query = Query(
        request_id=request.state.request_id,
        key_id=caller.key_id,
        model_name=inference_request.model,
        model_version=state.teacher.fingerprint,
        samples=len(images),
        payload_sha256=inference_request.payload_sha256,
        idempotency_key=inference_request.idempotency_key,
        outputs=",".join(outputs),
    )
    return state.query_runner.answer(query, images, encode, computed, caller.revision, disconnected=request.receive)


async def _count_rejection(request: Request, state: AppState, error: ServiceError, caller: Quota) -> None:
    """Count a request that was rejected for its content against the rate limit.

    Failures of the service do not count, nor do rejections for the key or for the limit itself.

    Raises:
        RateLimited, Unauthorized, KeyChanged: from the ledger; this error replaces the rejection.
    """
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(error, _NOT_COUNTED):
        return
    counted = state.ledger.count_rejection(caller.key_id, caller.revision)
    request.state.quota = error.quota = await asyncio.wrap_future(counted)


def _respond(state: AppState, result: QueryResult, inference_request: InferenceRequest, started: float) -> Response:
    settled, seconds, counters = result.settled, perf_counter() - started, state.counters
    headers = {**settled.answer.headers, **quota_headers(settled.quota)}
    if settled.replayed:
        headers["Idempotency-Replayed"] = "true"
        counters.replayed.add(seconds)
    else:
        counters.count_answer(result.samples, seconds, result.queue_seconds, result.compute_seconds)
    counters.last_answer_at = time()
    if settled.kept_until is not None:
        headers["X-Answer-Kept-Until"] = iso(settled.kept_until)
    _log.info(
        "query",
        outcome="replayed" if settled.replayed else "answered",
        status=200,
        key_id=settled.quota.key_id,
        samples=result.samples,
        outputs=",".join(inference_request.outputs),
        queue_ms=_milliseconds(result.queue_seconds),
        compute_ms=_milliseconds(result.compute_seconds),
        total_ms=_milliseconds(seconds),
        answer_bytes=len(settled.answer.content),
    )
    return Response(settled.answer.content, headers=headers)


def log_rejection(request: Request, rejection: ServiceError) -> None:
    """Count and log a query that is answered with a problem."""
    state: AppState = request.app.state.service
    started = getattr(request.state, "started", None)
    seconds = perf_counter() - started if started is not None else 0.0
    state.counters.rejected[rejection.kind].add(seconds)
    quota = rejection.quota or getattr(request.state, "quota", None)
    _log.info(
        "query",
        outcome=rejection.kind,
        status=rejection.status,
        key_id=quota.key_id if quota is not None else None,
        total_ms=_milliseconds(seconds),
    )


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
