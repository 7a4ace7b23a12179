"""Encoded pictures: taken as the pixels that they are, refused before they are decoded when they are not."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared import oip
from teacher_service.errors.service_errors import InvalidRequest
from teacher_service.inference.image_decoding import decode_images
from tests.shared.oip.byte_payload import byte_payload
from tests.teacher_service.running_service import INFER, ServiceUnderTest, images
from tests.teacher_service.wire import assert_refused, binary_request

COLOUR = (3, 8, 8)


def _file(pixels: NDArray[np.uint8], mode: str = "RGB", form: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels, mode=None).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def _rows(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One image, channels last."""
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, content: bytes = b"") -> bytes:
    """A PNG whose header says this size, whatever its content."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = _chunk(b"IDAT", zlib.compress(content))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + body + _chunk(b"IEND", b"")


def test_png_gives_its_pixels_bit_for_bit() -> None:
    pixels = images(4)
    found = decode_images([_file(_rows(image)) for image in pixels], COLOUR)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels)


def test_grey_and_colour_become_what_the_model_takes() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(decode_images([_file(grey, "L")], (1, 8, 8))[0, 0], grey)
    np.testing.assert_array_equal(decode_images([_file(grey, "L")], COLOUR)[0], np.stack([grey] * 3))
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    assert (decode_images([_file(red)], (1, 8, 8)) == round(0.299 * 200)).all()
    palette = decode_images([_file(np.full((8, 8, 3), 255, np.uint8), "P")], COLOUR)
    assert (palette == 255).all()


def test_jpeg_is_decoded_as_its_library_does() -> None:
    pixels = _rows(images(1)[0])
    content = _file(pixels, form="JPEG", quality=90)
    expected = np.asarray(Image.open(BytesIO(content)))
    np.testing.assert_array_equal(decode_images([content], COLOUR)[0], expected.transpose(2, 0, 1))


ANIMATED = BytesIO()
Image.new("RGB", (8, 8)).save(ANIMATED, "PNG", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
_REFUSED = {
    "other_size": (_file(np.zeros((8, 9, 3), np.uint8)), r"expected an image of 8 x 8 pixels, got 9 x 8"),
    "bomb": (png(50_000, 50_000), "expected a"),
    "larger_than_any_bomb": (png(2**31 - 1, 2**31 - 1), "expected a"),
    "no_pixels": (png(8, 8), "cannot be read"),
    "cut_short": (_file(_rows(images(1)[0]))[:-30], "cannot be read"),
    "transparent": (_file(np.zeros((8, 8, 4), np.uint8), "RGBA"), "without transparency, got PNG RGBA"),
    "cmyk": (_file(np.zeros((8, 8, 3), np.uint8), "CMYK", "JPEG"), "got JPEG CMYK"),
    "sixteen_bits": (_file(np.zeros((8, 8), np.uint16), "I;16"), "got PNG I;16"),
    "animated": (ANIMATED.getvalue(), "expected one image"),
    "gif": (_file(np.zeros((8, 8, 3), np.uint8), form="GIF"), "expected a PNG or JPEG file"),
    "bmp": (_file(np.zeros((8, 8, 3), np.uint8), form="BMP"), "expected a PNG or JPEG file"),
    "text": (b"cat.png", "expected a PNG or JPEG file"),
    "nothing": (b"", "expected a PNG or JPEG file"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_other_files_are_refused_by_position_and_reason(name: str) -> None:
    content, reason = _REFUSED[name]
    good = _file(_rows(images(1)[0]))
    with pytest.raises(InvalidRequest, match=rf"^images\[1\]: .*{reason}"):
        decode_images([good, content], COLOUR)


def test_model_with_other_channels_takes_no_pictures() -> None:
    with pytest.raises(InvalidRequest, match="takes 4 channels"):
        decode_images([b""], (4, 8, 8))


def _ask(service: ServiceUnderTest, files: list[bytes], shape: list[int]) -> tuple[bytes, dict[str, str]]:
    payload = byte_payload(files)
    head = {
        "inputs": [
            {"name": "images", "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": len(payload)}}
        ],
        "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
    }
    content, headers = binary_request(head, payload)
    return content, service.authorization | headers


@pytest.mark.parametrize("column", [False, True])
def test_pictures_and_pixels_get_the_same_answer_at_the_same_price(service: ServiceUnderTest, column: bool) -> None:
    pixels = images(3)
    content, headers = _ask(service, [_file(_rows(image)) for image in pixels], [3, 1] if column else [3])
    pictured, raw = service.send("POST", INFER, headers, content), service.infer(pixels)
    assert pictured.status_code == 200, pictured.text
    assert oip.decode_response(pictured.content, pictured.headers[oip.HEADER_LENGTH])[1]["logits"].tobytes() == (
        oip.decode_response(raw.content, raw.headers[oip.HEADER_LENGTH])[1]["logits"].tobytes()
    )
    assert service.counts() == (6, 0)


def test_repeated_pictures_are_replayed_and_others_are_another_request(service: ServiceUnderTest) -> None:
    files = [_file(_rows(image)) for image in images(2)]
    content, headers = _ask(service, files, [2])
    headers["Idempotency-Key"] = "once"
    first, again = (service.send("POST", INFER, headers, content) for _ in range(2))
    assert (first.content, again.headers["idempotency-replayed"]) == (again.content, "true")
    content, _ = _ask(service, files[::-1], [2])
    assert_refused(service.send("POST", INFER, headers, content), 422, "idempotency-key-reused")
    assert service.counts() == (2, 0)


def test_one_bad_picture_refuses_the_request_for_free(service: ServiceUnderTest) -> None:
    good = _file(_rows(images(1)[0]))
    for files, shape in (([good, b"x"], [2]), ([good], [2]), ([good], [1, 1, 1]), ([good] * 9, [9]), ([], [0])):
        content, headers = _ask(service, files, shape)
        assert_refused(service.send("POST", INFER, headers, content), 400, "invalid-request")
    assert service.counts() == (0, 0)
