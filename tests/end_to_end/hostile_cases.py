"""The hostile requests by name. Sizes are what the service's own bounds make interesting."""

import gzip
import zlib
from functools import partial
from typing import Final

from tests.end_to_end.hostile_requests import (
    CLOSED,
    KEY,
    MEBIBYTE,
    PIXELS,
    Case,
    animated,
    base64_picture,
    binary,
    bomb,
    elements,
    good,
    good_content,
    http,
    lying_jpeg,
    many_headers,
    picture,
    pictures,
    png,
    text,
    text_bomb,
    two_lengths,
    with_data,
    with_parameters,
    zipped,
)

_L: Final = "Inference-Header-Content-Length"
_HUGE: Final = 10**18
_SIZE: Final = "binary_data_size"


def _shape(*shape: object, size: object = 64) -> partial[bytes]:
    return partial(binary, {"shape": list(shape), "parameters": {_SIZE: size}})


HEADS: Final = [
    Case("head length beyond the body", partial(http, good_content(), [(_L, "100000")])),
    Case("head length within the JSON", partial(http, good_content(), [(_L, "20")])),
    Case("head length of nothing", partial(http, good_content(), [(_L, "0")])),
    Case("head length negative", partial(http, good_content(), [(_L, "-1")])),
    Case("head length of 10,000 digits", partial(http, good_content(), [(_L, "9" * 10_000)])),
    Case("head length beyond 64 bits", partial(http, good_content(), [(_L, str(2**64))])),
    Case("head length no number", partial(http, good_content(), [(_L, "0x10")])),
    Case("head length of other digits", partial(http, good_content(), [(_L, "١٢")])),
    Case("head length twice", two_lengths),
]

SHAPES: Final = [
    Case("shape whose product overflows", _shape(2**32, 2**32, 2**32, 1)),
    Case("shape whose product wraps to 64", _shape(2**62, 4, 1, 64)),
    Case("shape negative", _shape(-1, 1, 8, 8)),
    Case("shape twice negative", _shape(-1, -1, 8, 8)),
    Case("shape of none", _shape(0, 1, 8, 8, size=0)),
    Case("shape of floats", _shape(1.0, 1, 8, 8)),
    Case("shape of truths", _shape(True, 1, 8, 8)),
    Case("shape of texts", _shape("1", 1, 8, 8)),
    Case("shape of 100,000 dimensions", partial(text, with_data("[0]", shape="[" + "1," * 99_999 + "1]"))),
    Case("shape of 65 dimensions", _shape(*[1] * 64, 64)),
    Case("shape of huge sizes", partial(text, with_data("[0]", shape="[" + ("1" * 4000 + ",") * 500 + "1]"))),
    Case("size that lies", _shape(1, 1, 8, 8, size=63)),
    Case("size of a float", _shape(1, 1, 8, 8, size=64.0)),
    Case("size of a truth", _shape(1, 1, 1, 1, size=True)),
    Case("size negative", partial(binary, {"datatype": "BYTES", "shape": [1], "parameters": {_SIZE: -1}})),
    Case("payload too short", partial(binary, {}, PIXELS[:-1])),
    Case("payload too long", partial(binary, {}, PIXELS + b"\0")),
    Case("more samples than are taken", _shape(_HUGE, 1, 8, 8, size=64 * _HUGE)),
    Case("60,000 inputs", partial(text, '{"inputs": [' + "{}," * 59_999 + "{}]}")),
    Case("a million faults", partial(text, '{"inputs": [' + "0," * 999_999 + "0]}")),
    Case("a million faulty sizes", partial(text, with_data("[0]", shape="[" + '"",' * 999_999 + "0]"))),
    Case("60,000 outputs", partial(binary, {}, outputs=[{"name": "logits"}] * 60_000)),
    Case("two inputs of one name", partial(text, with_data("[0]").replace("[{", '[{"name": "images"}, {'))),
]

JSON: Final = [
    Case("60,000 levels of JSON", partial(text, with_parameters("[" * 60_000 + "]" * 60_000))),
    Case("60,000 levels of data", partial(text, with_data("[" * 60_000 + "]" * 60_000))),
    Case("64 MiB of lists", lambda: text(with_parameters("[" + "[]," * (21 * MEBIBYTE) + "[]]")), (413,)),
    Case("4 MB of lists", lambda: text(with_parameters("[" + "[]," * 1_330_000 + "[]]")), (413,)),
    Case("4 MB of objects", lambda: text(with_parameters("[" + "{}," * 1_330_000 + "{}]")), (413,)),
    Case("4 MB of pixels", lambda: text(with_data("[" + "0," * 2_000_000 + "0]"))),
    Case(
        "4 MB of parameters",
        lambda: text(with_parameters("0").replace('"a"', ",".join(f'"{n:x}":0' for n in range(400_000)) + ',"a"')),
    ),
    Case(
        "text of a million letters among 1,000",
        partial(text, with_data('["' + "a" * 10**6 + '"' + ', ""' * 1000 + "]")),
    ),
    Case("key twice", partial(text, with_data("[0]", shape='[1, 1, 8, 8], "shape": [2]'))),
    Case("NaN among parameters", partial(text, with_parameters("NaN"))),
    Case("Infinity among parameters", partial(text, with_parameters("-Infinity"))),
    Case("1e999 among parameters", partial(text, with_parameters("1e999"))),
    Case("NaN among pixels", partial(text, with_data("[NaN]", shape="[1]"))),
    Case("1e999 among pixels", partial(text, with_data("[1e999]", shape="[1]"))),
    Case("number of 100,000 digits", partial(text, with_parameters("1" * 100_000))),
    Case("pixel of 100,000 digits", partial(text, with_data("[" + "1" * 100_000 + "]", shape="[1]"))),
    Case("pixel of 4,000 digits", partial(text, with_data("[" + "1" * 4_000 + ", 1.5]", shape="[2]"))),
    Case("pixels that are too large", partial(text, with_data("[" + "256," * 63 + "256]"))),
    Case("pixels that are true", partial(text, with_data("[" + "true," * 63 + "0]"))),
    Case("ragged pixels", partial(text, with_data("[[0], [0, 0]]"))),
    Case("lone surrogate", partial(text, '{"inputs": [], "id": "\\ud800"}')),
    Case("invalid UTF-8", partial(text, b'{"inputs": [], "id": "\xff\xfe"}')),
    Case("overlong UTF-8", partial(text, b'{"inputs": [], "id": "\xc0\xaf"}')),
    Case("byte order mark", lambda: http(b"\xef\xbb\xbf" + good_content())),
    Case("UTF-16", lambda: http(good_content().decode().encode("utf-16"))),
    Case("null in a name", partial(binary, {"name": "images\0"})),
    Case("null in an output", partial(binary, {}, outputs=[{"name": "logits\0"}])),
    Case("name of a million letters", partial(binary, {"name": "i" * 10**6})),
    Case("flag that is none", partial(binary, {}, parameters={"binary_data_output": "yes"})),
    Case("no body", partial(http, b"")),
    Case("no object", partial(text, "[]")),
    Case("only null", partial(text, "null")),
    Case("two bodies", lambda: http(good_content() * 2)),
]

ENCODINGS: Final = [
    Case("gzip bomb", lambda: zipped(bomb(200 * MEBIBYTE)), (413,)),
    Case("gzip bomb within the bound", lambda: zipped(bomb(63 * MEBIBYTE)), (400, 413)),
    Case("nested gzip bomb", lambda: zipped(gzip.compress(bomb(1000 * MEBIBYTE)))),
    Case("truncated gzip", lambda: zipped(gzip.compress(good_content())[:-9])),
    Case("gzip of one byte", partial(zipped, b"\x1f")),
    Case("gzip with trailing garbage", lambda: zipped(gzip.compress(good_content()) + b"garbage")),
    Case("100,000 gzip members", lambda: zipped(gzip.compress(b"") * 100_000)),
    Case("gzip that is none", partial(zipped, good_content())),
    Case("gzip with a wrong sum", lambda: zipped(gzip.compress(good_content())[:-8] + bytes(8))),
    Case("deflate that is gzip", lambda: zipped(gzip.compress(good_content()), "deflate")),
    Case("deflate that is cut", lambda: zipped(zlib.compress(good_content())[:-4], "deflate")),
    Case("deflate bomb", lambda: zipped(zlib.compress(bytes(200 * MEBIBYTE), 9), "deflate"), (413,)),
    Case("deflate with a dictionary", lambda: zipped(b"\x78\xbb\0\0\0\0", "deflate")),
    Case("unknown encoding", partial(zipped, good_content(), "br"), (415,)),
    Case("stacked encodings", lambda: zipped(gzip.compress(gzip.compress(good_content())), "gzip, gzip"), (415,)),
    Case(
        "two encodings",
        lambda: http(good_content(), [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]),
        (415,),
    ),
    Case("empty encoding", partial(zipped, good_content(), ""), (415,)),
    Case("encoding of 10,000 letters", partial(zipped, good_content(), "g" * 10_000), (415,)),
]

PICTURES: Final = [
    Case("PNG that says it is huge", lambda: pictures(png(2**31 - 1, 2**31 - 1))),
    Case("PNG of no size", lambda: pictures(png(0, 0))),
    Case(
        "PNG whose pixels are a bomb",
        lambda: pictures(png(20_000, 20_000, data=zlib.compress(bytes(64 * MEBIBYTE), 9))),
    ),
    Case("PNG that is cut", lambda: pictures(png()[:-20])),
    Case("PNG without pixels", lambda: pictures(png(data=b""))),
    Case("PNG with a bomb of iCCP", lambda: pictures(text_bomb(b"iCCP"), png()[:40])),
    Case(
        "256 PNGs of many texts",
        lambda: pictures(*[png(chunks=[(b"zTXt", b"a\0\0" + zlib.compress(bytes(MEBIBYTE - 1)))] * 60)] * 255, b""),
    ),
    Case("JPEG that lies about its size", lambda: pictures(lying_jpeg())),
    Case("JPEG that is cut", lambda: pictures(picture("JPEG")[:-200])),
    Case("animated PNG", lambda: pictures(animated())),
    Case("GIF", lambda: pictures(picture("GIF"))),
    Case("TIFF", lambda: pictures(picture("TIFF"))),
    Case("WebP", lambda: pictures(picture("WEBP"))),
    Case("BMP", lambda: pictures(picture("BMP"))),
    Case("SVG", lambda: pictures(b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>')),
    Case("PostScript", lambda: pictures(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")),
    Case("nothing for a picture", lambda: pictures(b"")),
    Case("PNG in bad base64", partial(text, with_data('["!!!"]', "BYTES", "[1]"))),
    Case("GIF in base64", lambda: text(base64_picture(picture("GIF")))),
    Case("element longer than the payload", partial(elements, b"\xff\xff\xff\xff" + bytes(8), 1)),
    Case("more elements than bytes", partial(elements, bytes(8), _HUGE)),
    Case("bytes after the last element", partial(elements, bytes(9), 2)),
]

WIRE: Final = [
    Case("headers of 64 KiB", lambda: http(b"", [("X-Long", "a" * 65_536)]), (431, CLOSED)),
    Case("10,000 headers", lambda: http(b"", list(many_headers(10_000))), (431, CLOSED)),
    Case("headers without end", lambda: b"GET /v2 HTTP/1.1\r\nX: " + b"a" * (8 * MEBIBYTE), (431, CLOSED)),
    Case("request line without end", lambda: b"GET /" + b"a" * (8 * MEBIBYTE), (431, CLOSED)),
    Case("Content-Length twice", lambda: http(good_content(), [("Content-Length", "5"), ("Content-Length", "6")])),
    Case("Content-Length negative", lambda: http(b"", [("Content-Length", "-1")])),
    Case("Content-Length beyond 64 bits", lambda: http(b"", [("Content-Length", "9" * 30)])),
    Case("Content-Length too large", lambda: http(b"a" * (65 * MEBIBYTE)), (413, CLOSED)),
    Case("Content-Length too short", lambda: http(good_content(), [("Content-Length", "10")])),
    Case("length and chunks", lambda: http(b"0\r\n\r\n", [("Transfer-Encoding", "chunked"), ("Content-Length", "5")])),
    Case("chunks that are none", lambda: http(b"zz\r\nhello\r\n0\r\n\r\n", [("Transfer-Encoding", "chunked")])),
    Case("chunk of 2^64 bytes", lambda: http(b"1" + b"0" * 16 + b"\r\n", [("Transfer-Encoding", "chunked")])),
    Case("chunks named twice", lambda: http(b"0\r\n\r\n", [("Transfer-Encoding", "chunked, identity")])),
    Case("unknown Transfer-Encoding", lambda: http(b"0\r\n\r\n", [("Transfer-Encoding", "xchunked")])),
    Case("folded header", lambda: http(b"", [("X-A", "a\r\n b: c")])),
    Case("null in a header", lambda: http(b"", [("X-A", b"a\0b")])),
    Case("bare line feeds", lambda: b"GET /v2 HTTP/1.1\nHost: a\nX: \x01\n\n"),
    Case("no HTTP", lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512)),
    Case("HTTP/9.9", lambda: b"GET /v2 HTTP/9.9\r\nHost: a\r\n\r\n"),
    Case("HTTP/2 preface", lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Case("CONNECT", lambda: b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", (400, 404, 405)),
    Case("TRACE", partial(http, b"", method="TRACE"), (405,)),
    Case("GET of infer", partial(http, b"", method="GET"), (405,)),
    Case("DELETE of infer", partial(http, b"", method="DELETE"), (405,)),
    Case("unknown method", partial(http, b"", method="STEAL"), (400,)),
    Case(
        "upgrade to WebSocket",
        lambda: http(
            b"", [("Connection", "Upgrade, close"), ("Upgrade", "websocket")], target="/nowhere", method="GET"
        ),
        (400, 404),
    ),
    Case("Expect of bad content", lambda: http(b"{}", [("Expect", "100-continue")])),
]


def _path(name: str, target: str | bytes, *statuses: int) -> Case:
    return Case(f"path {name}", partial(http, good_content(), target=target), statuses or (404,))


PATHS: Final = [
    _path("up", "/v2/models/../infer"),
    _path("up, encoded", "/v2/models/%2e%2e%2f%2e%2e/infer"),
    _path("slash, encoded", "/v2/models/teacher%2Finfer/infer"),
    _path("null, encoded", "/v2/models/teacher%00/infer"),
    _path("of 20,000 letters", "/v2/models/" + "a" * 20_000 + "/infer"),
    _path("of other letters", "/v2/models/%F0%9F%92%A9/infer"),
    _path("of bad UTF-8", "/v2/models/%ff%fe/infer"),
    _path("of raw bytes", b"/v2/models/\xff\xfe/infer", 400),
    _path("of line feeds", "/v2/models/a%0d%0aSet-Cookie:x/infer"),
    _path("doubled", "//v2//models/teacher/infer"),
    _path("version that is none", "/v2/models/teacher/versions/%2e%2e/infer"),
    _path("absolute", "http://elsewhere/v2/models/other/infer"),
    _path("star", "*", 400, 404),
]


def _key(name: str, *values: str | bytes) -> Case:
    headers = [("Idempotency-Key", value) for value in values]
    return Case(f"Idempotency-Key {name}", partial(http, good_content(), headers))


def _authorization(name: str, *headers: tuple[str, str | bytes]) -> Case:
    return Case(f"Authorization {name}", partial(http, good_content(), headers, keyed=False), (401,))


KEYS: Final = [
    _key("empty", ""),
    _key("quoted and empty", '""'),
    _key("of 10 KB", "k" * 10_240),
    _key("of control bytes", b"a\x07b"),
    _key("of tabs", "a\tb"),
    _key("of other letters", "ключ"),
    _key("twice", "a", "b"),
    _authorization("missing"),
    _authorization("empty", ("Authorization", "")),
    _authorization("without a key", ("Authorization", "Bearer ")),
    _authorization("of another scheme", ("Authorization", f"Basic {KEY}")),
    _authorization("of 20 KB", ("Authorization", "Bearer " + "k" * 20_480)),
    _authorization("of other letters", ("Authorization", "Bearer tk_ключ_ключ")),
    _authorization("of bad UTF-8", ("Authorization", b"Bearer tk_\xff\xfe_\xff")),
    _authorization("of quotes", ("Authorization", "Bearer ' OR 1=1 --")),
    _authorization("cut", ("Authorization", f"Bearer {KEY[:-1]}")),
    _authorization("twice, first wrong", ("Authorization", "Bearer a"), ("Authorization", f"Bearer {KEY}")),
    _authorization("empty in X-API-Key", ("X-API-Key", "")),
]

CASES: Final = [*HEADS, *SHAPES, *JSON, *ENCODINGS, *PICTURES, *WIRE, *PATHS, *KEYS]
ANSWERED: Final = [
    Case("good", good, (200,)),
    Case("PNG with a bomb of zTXt", lambda: pictures(text_bomb(b"zTXt")), (200,)),
    Case("PNG with a bomb of iTXt", lambda: pictures(text_bomb(b"iTXt")), (200,)),
    Case("PNG with a long text", lambda: pictures(png(chunks=[(b"tEXt", b"a\0" + b"b" * 10_000)])), (200,)),
    Case("Expect", lambda: http(good_content(), [("Expect", "100-continue")]), (200,)),
]
"""What must be answered all the same."""
