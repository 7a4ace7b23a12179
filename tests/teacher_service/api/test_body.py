"""Bodies as they come: compressed, oversized, or slow."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from fastapi import Request

from shared import oip
from teacher_service.api.body import read_body
from teacher_service.errors.service_errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidRequest,
    ServiceError,
    UnsupportedEncoding,
)
from tests.endurance import HANG_SECONDS
from tests.teacher_service.running_service import INFER, ServiceUnderTest, images

CONTENT = bytes(range(256)) * 20


def _raw(content: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(content) + stream.flush()


def _read(
    content: bytes,
    encoding: str | None,
    *,
    portion: int = 1 << 16,
    max_bytes: int = 8192,
    timeout: float = HANG_SECONDS,
) -> bytes:
    portions = [content[start : start + portion] for start in range(0, len(content), portion)] or [b""]

    async def receive() -> dict[str, object]:
        if not portions:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": portions.pop(0), "more_body": bool(portions) or timeout < 1}

    headers = [(b"content-encoding", encoding.encode())] if encoding else []
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    return asyncio.run(read_body(request, max_bytes=max_bytes, timeout_seconds=timeout))


@pytest.mark.parametrize("portion", [1, 7, 1 << 16])
@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        (None, bytes),
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", _raw),
    ],
)
def test_every_encoding_gives_the_content_back(
    encoding: str | None, compress: Callable[[bytes], bytes], portion: int
) -> None:
    assert _read(compress(CONTENT), encoding, portion=portion) == CONTENT


BOMB = gzip.compress(bytes(100 << 20))


@pytest.mark.parametrize(
    ("content", "encoding", "refusal", "reason"),
    [
        (BOMB, "gzip", BodyTooLarge, "at most 8192 bytes"),
        (zlib.compress(bytes(100 << 20)), "deflate", BodyTooLarge, "at most 8192 bytes"),
        (bytes(8193), None, BodyTooLarge, "at most 8192 bytes"),
        (gzip.compress(CONTENT)[:-1], "gzip", InvalidRequest, "ends early"),
        (b"", "gzip", InvalidRequest, "ends early"),
        (b"x", "deflate", InvalidRequest, "ends early"),
        (b"plain text", "gzip", InvalidRequest, "expected what Content-Encoding names"),
        (b"\xff\xff\xff\xff", "deflate", InvalidRequest, "expected what Content-Encoding names"),
        (gzip.compress(CONTENT) + b"more", "gzip", InvalidRequest, "bytes after its end"),
        (gzip.compress(CONTENT) * 2, "gzip", InvalidRequest, "bytes after its end"),
        (CONTENT, "br", UnsupportedEncoding, "expected gzip, deflate or no compression, got 'br'"),
        (gzip.compress(CONTENT), "gzip, gzip", UnsupportedEncoding, "got 'gzip, gzip'"),
    ],
)
@pytest.mark.parametrize("portion", [1000, 1 << 20])
def test_what_is_not_as_said_is_refused(
    content: bytes, encoding: str | None, refusal: type[ServiceError], reason: str, portion: int
) -> None:
    with pytest.raises(refusal, match=reason):
        _read(content, encoding, portion=portion)


def test_bomb_is_not_inflated() -> None:
    """A hundred megabytes in a hundred kilobytes: refused without ever holding more than the limit and one portion."""
    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        _read(BOMB, "gzip", max_bytes=200_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000


def test_body_that_takes_too_long_is_refused() -> None:
    with pytest.raises(BodyTooSlow, match=r"expected all of it within 0.5 s, got 5120 bytes"):
        _read(CONTENT, None, timeout=0.5)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_request_gets_the_same_answer(service: ServiceUnderTest, encoding: str) -> None:
    """The length of the head is that of the inflated body, as Triton's client says it."""
    body = oip.encode_request({"images": images(3)}, outputs=["logits"])
    compress = gzip.compress if encoding == "gzip" else zlib.compress
    headers = {**service.authorization, **body.headers, "Content-Encoding": encoding}
    answer = service.send("POST", INFER, headers, compress(body.content))
    assert answer.status_code == 200, answer.text
    plain = service.infer(images(3))
    inflated, usual = (
        oip.decode_response(reply.content, reply.headers[oip.HEADER_LENGTH])[1]["logits"] for reply in (answer, plain)
    )
    np.testing.assert_array_equal(inflated, usual)
