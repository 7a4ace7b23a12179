"""The Open Inference Protocol v2: health, metadata, and `infer`, the one route that costs anything."""

from collections.abc import Sequence
from hashlib import sha256
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
    LedgerUnavailable,
    OutputNotAllowed,
    UnknownModel,
    UnsupportedEncoding,
)
from teacher_service.ledger import Query, Settled
from teacher_service.quota import Quota
from teacher_service.routes.service import Caller, RunningService, Service, quota_headers
from teacher_service.teacher import LOGITS

INPUT: Final = "images"
_MAX_IDEMPOTENCY_KEY: Final = 255

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
    request: Request, service: RunningService, caller: Caller, model: str, model_version: str | None = None
) -> Response:
    """The logits of raw images, or whichever outputs are asked for. Costs one sample of quota an image, whatever the
    outputs; every refusal costs nothing.

    With an `Idempotency-Key` a repetition of the same payload is free and gets the same bytes, so every retry is
    safe. Without one, a retry after a lost answer is a new query and is charged again.

    400 malformed body; 401 no valid key; 403 an output that this key may not see; 404 no such model or version; 409 the
    same key is being answered (retry); 413 body too large; 415 unknown Content-Encoding; 422 Idempotency-Key used with
    another payload; 429 quota exhausted (do not retry); 500 the model failed; 503 overloaded or ledger down (retry).
    """
    idempotency_key = _idempotency_key(request)
    content = await _read_body(request, service.settings.max_body_bytes)
    try:
        head, tensors = oip.decode_request(content, request.headers.get(oip.HEADER_LENGTH))
        outputs = tuple(dict.fromkeys(output.name for output in head.outputs)) or (LOGITS,)
        binary = [output for output in outputs if head.wants_binary(output)]
    except oip.ProtocolError as error:
        raise InvalidRequest(str(error)) from error
    payload_sha256 = _payload_sha256(model_version, head, outputs, binary, tensors)
    if idempotency_key is not None:
        # Before anything that settings or another model may have changed since: what was paid for is given.
        known = await run_in_threadpool(service.ledger.replay, caller.key_id, idempotency_key, payload_sha256)
        if known is not None:
            return _answer(known)
    _check_model(service, model, model_version)
    images = _images(service, tensors)
    _check_outputs(service, caller, outputs)

    def encode(rows: Rows) -> oip.Body:
        return oip.encode_response(
            service.teacher.unpack(rows, outputs),
            binary=binary,
            model_name=model,
            model_version=service.teacher.fingerprint,
            request_id=head.id,
        )

    query = Query(
        request_id=request.state.request_id,
        key_id=caller.key_id,
        model_name=model,
        model_version=service.teacher.fingerprint,
        samples=len(images),
        payload_sha256=payload_sha256,
        idempotency_key=idempotency_key,
    )
    return _answer(await service.desk.answer(query, images, encode, outputs))


def _answer(settled: Settled) -> Response:
    replayed = {"Idempotency-Replayed": "true"} if settled.replayed else {}
    return Response(
        settled.answer.content, headers={**settled.answer.headers, **quota_headers(settled.quota), **replayed}
    )


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
