"""Read a request body, bounded in size and time, decompress it, and parse the JSON bodies of the admin routes."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from teacher_service.api.dependencies import State
from teacher_service.errors.service_errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidRequest,
    ServiceError,
    UnsupportedEncoding,
)
from teacher_service.keys.request_schemas import RequestSchema, parse_request

_LONG_CHUNK: Final = 4096
"""Longer chunks are decompressed in a thread: zlib may expand them a thousandfold, which would block other requests."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS

_MAX_JSON_BYTES: Final = 16 * 1024
"""Maximum size of an admin route's body."""

BODY_ERRORS: Final[tuple[type[ServiceError], ...]] = (InvalidRequest, BodyTooSlow, BodyTooLarge, UnsupportedEncoding)
"""Errors that a route with a JSON body may raise."""

AnyRequest = TypeVar("AnyRequest", bound=RequestSchema)


async def read_body(request: Request, *, max_bytes: int, timeout_seconds: float) -> bytes:
    """The whole body, decompressed.

    Raises:
        BodyTooLarge: the body exceeds `max_bytes`, as sent or decompressed; it is read no further than that.
        BodyTooSlow: the body did not arrive within `timeout_seconds`.
        UnsupportedEncoding: the body is compressed, but not by gzip or deflate.
        InvalidRequest: the body does not match its Content-Encoding, or the client disconnected.
    """
    encodings = request.headers.getlist("content-encoding") or ["identity"]
    decoder = _decoder(", ".join(encodings).strip().lower(), max_bytes)
    size = 0
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                if isinstance(decoder, _Inflating) and len(chunk) > _LONG_CHUNK:
                    await run_in_threadpool(decoder.take, chunk)
                else:
                    decoder.take(chunk)
    except ClientDisconnect as error:
        raise InvalidRequest(f"body: expected all of it, got a disconnect after {size} bytes") from error
    except TimeoutError as error:
        raise BodyTooSlow(
            f"body: expected all of it within {timeout_seconds:g} s, got {size} bytes; send fewer samples a request"
        ) from error
    return decoder.finish()


def json_body(schema: type[AnyRequest]) -> Callable[..., Awaitable[AnyRequest]]:
    """A dependency that parses the request's body as this schema."""

    async def read(request: Request, state: State) -> AnyRequest:
        content = await read_body(
            request, max_bytes=_MAX_JSON_BYTES, timeout_seconds=state.settings.body_timeout_seconds
        )
        return parse_request(schema, content, state.history.clock())

    return read


def json_body_document(schema: type[RequestSchema]) -> dict[str, Any]:
    """The OpenAPI `requestBody` of this schema."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema.model_json_schema()}}}}


def _decoder(encoding: str, max_bytes: int) -> "_Plain | _Inflating":
    if encoding == "identity":
        return _Plain()
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _Inflating(_gzip if encoding != "deflate" else _zlib_or_raw, max_bytes)
    raise UnsupportedEncoding(f"Content-Encoding: expected gzip, deflate or no compression, got {encoding[:40]!r}")


class _Plain:
    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def take(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def finish(self) -> bytes:
        return b"".join(self._chunks)


class _Inflating:
    """Decompresses, and never holds more than `max_bytes` + 1 bytes."""

    def __init__(self, begin: "Callable[[bytes], zlib._Decompress]", max_bytes: int) -> None:
        self._begin = begin
        self._max_bytes = max_bytes
        self._start = b""
        self._stream: zlib._Decompress | None = None
        self._inflated = bytearray()

    def take(self, chunk: bytes) -> None:
        if self._stream is None:
            self._start += chunk
            if len(self._start) < 2:  # two bytes show whether a deflate stream has a zlib wrapper
                return
            self._stream, chunk = self._begin(self._start), self._start
        if self._stream.eof and chunk:
            raise InvalidRequest("body: expected one compressed stream, got bytes after its end")
        try:
            self._inflated += self._stream.decompress(chunk, self._max_bytes - len(self._inflated) + 1)
        except zlib.error as error:
            raise InvalidRequest(f"body: expected what Content-Encoding names, got other bytes ({error})") from error
        if len(self._inflated) > self._max_bytes:
            raise _too_large(self._max_bytes)
        if self._stream.unused_data:
            raise InvalidRequest("body: expected one compressed stream, got bytes after its end")

    def finish(self) -> bytes:
        if self._stream is None or not self._stream.eof:
            raise InvalidRequest("body: expected a whole compressed stream, got one that ends early; send it again")
        return bytes(self._inflated)


def _gzip(_start: bytes) -> "zlib._Decompress":
    return zlib.decompressobj(_GZIP)


def _zlib_or_raw(start: bytes) -> "zlib._Decompress":
    # HTTP's deflate is a zlib stream (RFC 9110, section 8.4.1.2), but some clients send raw deflate.
    wrapped = start[0] & 0x0F == zlib.DEFLATED and int.from_bytes(start[:2]) % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if wrapped else _RAW)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"body: expected at most {max_bytes} bytes, got more; send fewer samples a request")
