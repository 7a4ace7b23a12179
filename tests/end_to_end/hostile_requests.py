"""Requests that nobody sends by mistake, each with what it must get: written byte by byte, as no client would."""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from PIL import Image

KEY: Final = "$KEY"
"""Where the API key goes."""
CLOSED: Final = 0
"""Instead of a status: the connection ended while more was being sent than is read."""
INFER: Final = "/v2/models/teacher/infer"
PIXELS: Final = bytes(64)
MEBIBYTE: Final = 2**20

Headers = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Case:
    """A request, and the statuses of which it must get one."""

    name: str
    request: Callable[[], bytes]
    statuses: tuple[int, ...] = (400,)


def http(
    content: bytes, headers: Headers = (), *, target: str | bytes = INFER, method: str = "POST", keyed: bool = True
) -> bytes:
    """A request that is the last on its connection; a header named here is sent instead of the usual one."""
    named = {name.lower() for name, _ in headers}
    usual: list[tuple[str, str | bytes]] = [("Host", "test"), ("Connection", "close")]
    usual += [("Authorization", f"Bearer {KEY}")] if keyed else []
    usual += [("Content-Length", str(len(content)))] if "transfer-encoding" not in named else []
    lines = [method.encode() + b" " + _bytes(target) + b" HTTP/1.1"]
    for name, value in [*((name, value) for name, value in usual if name.lower() not in named), *headers]:
        lines.append(name.encode() + b": " + _bytes(value))
    return b"\r\n".join([*lines, b"", b""]) + content


def binary(tensor: dict[str, Any], payload: bytes = PIXELS, headers: Headers = (), **head: Any) -> bytes:
    """A good request but for these changes of its tensor, its payload, its headers or its head."""
    raw = json.dumps({"inputs": [_tensor(**tensor)], **head}).encode()
    return http(raw + payload, headers or _length(len(raw)))


def text(raw: str | bytes, headers: Headers = ()) -> bytes:
    """A request whose body is this JSON."""
    return http(_bytes(raw), headers)


def pictures(*files: bytes) -> bytes:
    """A request for these pictures."""
    payload = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    return elements(payload, len(files))


def elements(payload: bytes, count: int) -> bytes:
    """A request for `count` pictures that are said to be these bytes."""
    parameters = {"binary_data_size": len(payload)}
    return binary({"datatype": "BYTES", "shape": [count], "parameters": parameters}, payload)


def png(
    width: int = 8, height: int = 8, *, data: bytes | None = None, chunks: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    """A grey PNG file, which may lie about its size and have anything for its pixels."""
    pixels = zlib.compress(bytes(9 * 8)) if data is None else data
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        *chunks,
        (b"IDAT", pixels),
        (b"IEND", b""),
    ]
    framed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def picture(kind: str, size: tuple[int, int] = (8, 8), **options: Any) -> bytes:
    """A black file of one of Pillow's formats."""
    file = BytesIO()
    Image.new("L", size).save(file, kind, **options)
    return file.getvalue()


def zipped(content: bytes, encoding: str = "gzip") -> bytes:
    """A request with this compressed content."""
    return http(content, [("Content-Encoding", encoding)])


def good() -> bytes:
    """What is paid for and answered."""
    return binary({})


def good_content() -> bytes:
    """The body of such a request, without a binary part."""
    return json.dumps({"inputs": [_tensor(parameters={}, data=list(PIXELS))]}).encode()


def bomb(size: int) -> bytes:
    """A gzip file of so many zeros: a thousandth of it."""
    return gzip.compress(bytes(size), 9)


def with_parameters(value: str) -> str:
    """A body whose parameters hold this JSON."""
    return f'{{"inputs": [], "parameters": {{"a": {value}}}}}'


def with_data(value: str, datatype: str = "UINT8", shape: str = "[1, 1, 8, 8]") -> str:
    """A body whose only tensor holds this JSON."""
    return f'{{"inputs": [{{"name": "images", "datatype": "{datatype}", "shape": {shape}, "data": {value}}}]}}'


def two_lengths() -> bytes:
    """A good body whose head is said to end in two places."""
    raw = json.dumps({"inputs": [_tensor()]}).encode()
    return http(raw + PIXELS, [*_length(len(raw)), *_length(len(raw) + 1)])


def lying_jpeg() -> bytes:
    """A JPEG of 8 x 8 whose header says 65,000 x 65,000."""
    file = bytearray(picture("JPEG"))
    place = file.index(b"\xff\xc0") + 5
    file[place : place + 4] = struct.pack(">HH", 65000, 65000)
    return bytes(file)


def animated() -> bytes:
    """A PNG of two frames."""
    other = Image.new("L", (8, 8), 255)
    return picture("PNG", save_all=True, append_images=[other])


def text_bomb(kind: bytes) -> bytes:
    """A PNG with a text of 64 MiB in 64 KiB."""
    packed = zlib.compress(bytes(64 * MEBIBYTE), 9)
    return png(chunks=[(kind, b"a\0\1\0\0\0" + packed if kind == b"iTXt" else b"a\0\0" + packed)])


def base64_picture(file: bytes) -> str:
    """A body with this picture in JSON."""
    return with_data(json.dumps([base64.b64encode(file).decode()]), "BYTES", "[1]")


def many_headers(count: int) -> Iterator[tuple[str, str]]:
    """Headers that nobody reads."""
    return ((f"X-{number}", "a") for number in range(count))


def _tensor(**changes: Any) -> dict[str, Any]:
    size = {"binary_data_size": len(PIXELS)}
    return {"name": "images", "shape": [1, 1, 8, 8], "datatype": "UINT8", "parameters": size} | changes


def _length(length: int | str) -> Headers:
    return [("Inference-Header-Content-Length", str(length))]


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
