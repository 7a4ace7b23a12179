"""The Open Inference Protocol v2: health, metadata, and `infer`, the one route that costs anything."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from shared import oip
from teacher_service.batcher import Images, Rows
from teacher_service.errors import (
    BodyTooLarge,
    InvalidRequest,
    KeyChanged,
    LedgerUnavailable,
    OutputNotAllowed,
    RateLimited,
    ServiceError,
    Unauthorized,
    UnknownModel,
    UnsupportedEncoding,
)
from teacher_service.ledger import Query, Settled
from teacher_service.quota import Quota
from teacher_service.routes.service import RunningService, Service, Token, current_quota, quota_headers
from teacher_service.teacher import LOGITS

INPUT: Final = "images"
_MAX_IDEMPOTENCY_KEY: Final = 255
_LOOKS_AT_THE_KEY: Final = 3
"""How often a key may be changed while one request is looked at, before the request is sent back."""

router = APIRouter(prefix="/v2", tags=["open inference protocol"])


@router.get("")
async def server_metadata() -> dict[str, Any]:
    """The server's name, version and protocol extensions. Costs nothing, needs no key."""
    return {
        "name": "tuition-teacher",
        "version": version("tuition"),
        "extensions": [oip.BINARY_EXTENSION, oip.FINGERPRINT_EXTENSION],
    }


@router.get("/health/live")
async def live(service: RunningService) -> dict[str, bool]:
    """Whether the process answers, and whether it is ready. Costs nothing, needs no key."""
    return {"live": True, "ready": await run_in_threadpool(service.keys.is_reachable)}


@router.get("/health/ready")
async def ready(service: RunningService) -> dict[str, bool]:
    """Whether the next query would be counted and answered. 503 when the ledger is down. Costs nothing."""
    if not await run_in_threadpool(service.keys.is_reachable):
        raise LedgerUnavailable("The ledger cannot be read, so no query would be admitted.")
    return {"live": True, "ready": True}


@router.get("/models/{model}")
@router.get("/models/{model}/versions/{model_version}")
async def model_metadata(service: RunningService, model: str, model_version: str | None = None) -> dict[str, Any]:
    """The model's inputs and outputs. Costs nothing, needs no key. 404: no such model or version.

    Outputs called `features.<layer>` are for keys that may see them; `GET /v1/quota` says whether one may.
    """
    _check_model(service, model, model_version)
    teacher = service.teacher
    return {
        "name": model,
        "versions": [teacher.fingerprint],
        "platform": "pytorch",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *teacher.image_shape]}],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": [-1, *shape]} for name, shape in teacher.outputs.items()
        ],
        "parameters": {"max_batch_size": service.settings.max_batch_size},
    }


@router.get("/models/{model}/ready")
@router.get("/models/{model}/versions/{model_version}/ready")
async def model_ready(service: RunningService, model: str, model_version: str | None = None) -> dict[str, Any]:
    """Whether the model would answer. 404: no such model or version; 503: the ledger is down. Costs nothing."""
    _check_model(service, model, model_version)
    await ready(service)
    return {"name": model, "ready": True}


@router.post("/models/{model}/infer")
@router.post("/models/{model}/versions/{model_version}/infer")
async def infer(
    request: Request, service: RunningService, token: Token, model: str, model_version: str | None = None
) -> Response:
    """The logits of raw images, or whichever outputs are asked for. Costs one sample of quota an image, whatever the
    outputs; every refusal costs nothing, but counts as a request against a burst limit.

    With an `Idempotency-Key` a repetition of the same payload is free and gets the same bytes, so every retry is
    safe, for as long as `X-Answer-Kept-Until` says. Without one, a retry after a lost answer is a new query and is
    charged again.

    400 malformed body; 401 no valid key; 403 an output that this key may not see; 404 no such model or version; 409 the
    same key is being answered (retry); 410 the answer is not kept any more; 413 body too large; 415 unknown
    Content-Encoding; 422 Idempotency-Key used with another payload; 429 quota exhausted (do not retry) or too fast
    (retry); 500 the model failed; 503 overloaded or ledger down (retry).
    """
    # On the terms of the last time, which spares a look at the ledger: it refuses whatever was let pass on old ones.
    caller = service.keys.remembered(token) or await current_quota(request, service, token)
    asked: _Asked | ServiceError
    try:
        asked = await _read(request, service, model, model_version)
    except ServiceError as refusal:
        asked = refusal
    for _ in range(_LOOKS_AT_THE_KEY):
        try:
            if isinstance(asked, ServiceError):
                raise asked
            return _answer(await _sell(request, service, caller, asked))
        except KeyChanged:
            caller = await current_quota(request, service, token)
        except ServiceError as refusal:
            if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(refusal, RateLimited | Unauthorized):
                raise
            try:
                counted = service.ledger.count_refusal(caller.key_id, caller.revision)
                request.state.quota = await asyncio.wrap_future(counted)
            except KeyChanged:
                caller = await current_quota(request, service, token)
            else:
                raise
    raise KeyChanged


@dataclass(frozen=True)
class _Asked:
    """A request whose body could be read."""

    model: str
    model_version: str | None
    idempotency_key: str | None
    head: oip.RequestHead
    tensors: dict[str, NDArray[Any]]
    outputs: tuple[str, ...]
    binary: list[str]
    payload_sha256: str


async def _read(request: Request, service: Service, model: str, model_version: str | None) -> _Asked:
    idempotency_key = _idempotency_key(request)
    content = await _read_body(request, service.settings.max_body_bytes)
    try:
        head, tensors = oip.decode_request(content, request.headers.get(oip.HEADER_LENGTH))
        outputs = tuple(dict.fromkeys(output.name for output in head.outputs)) or (LOGITS,)
        binary = [output for output in outputs if head.wants_binary(output)]
    except oip.ProtocolError as error:
        raise InvalidRequest(str(error)) from error
    payload_sha256 = _payload_sha256(model_version, head, outputs, binary, tensors)
    return _Asked(model, model_version, idempotency_key, head, tensors, outputs, binary, payload_sha256)


async def _sell(request: Request, service: Service, caller: Quota, asked: _Asked) -> Settled:
    try:
        _check_model(service, asked.model, asked.model_version)
        images = _images(service, asked.tensors)
        _check_outputs(service, caller, asked.outputs)
    except ServiceError:
        # Settings or another model may have changed since it was paid for: then it is given.
        known = await _replay(service, caller, asked)
        if known is None:
            raise
        return known

    def encode(rows: Rows) -> oip.Body:
        return oip.encode_response(
            service.teacher.unpack(rows, asked.outputs),
            binary=asked.binary,
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
        outputs=",".join(asked.outputs),
    )
    return await service.desk.answer(query, images, encode, asked.outputs, caller.revision)


async def _replay(service: Service, caller: Quota, asked: _Asked) -> Settled | None:
    if asked.idempotency_key is None:
        return None
    return await run_in_threadpool(
        service.ledger.replay, caller.key_id, asked.idempotency_key, asked.payload_sha256, caller.revision
    )


def _answer(settled: Settled) -> Response:
    headers = {**settled.answer.headers, **quota_headers(settled.quota)}
    if settled.replayed:
        headers["Idempotency-Replayed"] = "true"
    if settled.kept_until is not None:
        headers["X-Answer-Kept-Until"] = datetime.fromtimestamp(settled.kept_until, UTC).isoformat(timespec="seconds")
    return Response(settled.answer.content, headers=headers)


def _check_model(service: Service, model: str, model_version: str | None) -> None:
    served, fingerprint = service.settings.model_name, service.teacher.fingerprint
    if model != served:
        raise UnknownModel(f"model: expected {served!r}, got {model[:80]!r}")
    if model_version not in (None, fingerprint):
        raise UnknownModel(f"version: {served!r} is served in version {fingerprint!r}, not {str(model_version)[:80]!r}")


def _idempotency_key(request: Request) -> str | None:
    """The header's value, quoted (a structured-field string) or bare."""
    value = request.headers.get("idempotency-key")
    if value is None:
        return None
    key = value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value
    if not 1 <= len(key) <= _MAX_IDEMPOTENCY_KEY or not key.isascii() or not key.isprintable():
        raise InvalidRequest(
            f"Idempotency-Key: expected 1 to {_MAX_IDEMPOTENCY_KEY} printable ASCII characters, got {key[:40]!r}"
        )
    return key


async def _read_body(request: Request, max_bytes: int) -> bytes:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedEncoding(f"Content-Encoding: expected an uncompressed body, got {encoding[:40]!r}")
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise BodyTooLarge(f"body: expected at most {max_bytes} bytes, got more; send fewer samples a request")
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise InvalidRequest(f"body: the client hung up after {size} bytes") from error
    return b"".join(chunks)


def _images(service: Service, tensors: dict[str, NDArray[Any]]) -> Images:
    if set(tensors) != {INPUT}:
        raise InvalidRequest(f"inputs: expected exactly one, called {INPUT!r}, got {sorted(tensors)}")
    images = tensors[INPUT]
    if images.dtype != np.uint8:
        raise InvalidRequest(
            f"{INPUT}.datatype: expected UINT8 (raw pixels, 0 to 255), got {images.dtype.name.upper()}"
        )
    expected = service.teacher.image_shape
    if images.ndim != 4 or images.shape[1:] != expected:
        raise InvalidRequest(f"{INPUT}.shape: expected [samples, {', '.join(map(str, expected))}], got {images.shape}")
    most = service.settings.max_batch_size
    if not 1 <= len(images) <= most:
        raise InvalidRequest(f"{INPUT}.shape: expected 1 to {most} samples a request, got {len(images)}")
    return images


def _check_outputs(service: Service, caller: Quota, outputs: Sequence[str]) -> None:
    known = service.teacher.outputs
    for output in outputs:
        if output not in known:
            raise InvalidRequest(f"outputs: expected names among {', '.join(known)}, got {output[:80]!r}")
        if output != LOGITS and not caller.features:
            raise OutputNotAllowed(
                f"outputs: this key may see {LOGITS!r} alone, and {output!r} was asked for. Nothing was charged; ask "
                "the service's operator for a key that may see features (`teacher-service keys create --features`)."
            )


def _payload_sha256(
    model_version: str | None,
    head: oip.RequestHead,
    outputs: Sequence[str],
    binary: Sequence[str],
    tensors: dict[str, NDArray[Any]],
) -> str:
    """What makes two requests the same: all that the answer's bytes depend on, however it was written down.

    The version that was asked for counts; the name under which the model happens to be served does not. For logits
    alone the form is that of the first release, whose stored answers are still replayed.
    """
    asked = [output.name for output in head.outputs]
    form = (bool(binary), asked) if tuple(outputs) == (LOGITS,) else (list(binary), asked)
    digest = sha256(repr((model_version, head.id, *form)).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype.str, tensor.shape)).encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()
