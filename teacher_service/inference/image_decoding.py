"""Decode PNG and JPEG files to the pixels that the teacher takes.

Invariant: an image is decoded only after its header shows an accepted format, mode and size, and nothing but its pixels
is decompressed. So a small file cannot expand to gigabytes, and no other decoder runs.
"""

import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from teacher_service.errors.service_errors import InvalidRequest

_FORMATS: Final = ("PNG", "JPEG")
_MODES: Final = ("1", "L", "P", "RGB")
"""Accepted Pillow modes: black and white, grey, palette, colour; 8 bits, without transparency."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_KEPT_CHUNKS: Final = (b"tRNS", b"acTL")
"""Ancillary PNG chunks that are kept, as they mark a transparent or an animated image."""
_NOT_AN_IMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""Errors that Pillow raises for bytes that it cannot or will not read."""


def decode_images(encoded: Sequence[bytes], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Pixels uint8 `[samples, channels, height, width]` of PNG or JPEG files.

    Grey is repeated for a teacher that takes colour; colour is converted to luma (ITU-R 601-2) for one that takes grey.
    Orientation tags are ignored.

    Args:
        encoded: the bytes of each file.
        shape: channels (1 or 3), height and width of every image.

    Raises:
        InvalidRequest: an image is not of this kind or shape; the message says which, and why.
    """
    channels = shape[0]
    if channels not in (1, 3):
        raise InvalidRequest(f"images.datatype: expected UINT8, as this model takes {channels} channels, got BYTES")
    pixels = np.empty((len(encoded), *shape), np.uint8)
    for index, content in enumerate(encoded):
        pixels[index] = _decode(f"images[{index}]", content, shape)
    return pixels


def _decode(where: str, content: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    channels, height, width = shape
    try:
        with Image.open(BytesIO(_pixels_alone(content)), formats=_FORMATS) as image:
            if image.size != (width, height):
                raise InvalidRequest(
                    f"{where}: expected an image of {width} x {height} pixels, got {image.width} x {image.height}"
                )
            if image.mode not in _MODES or "transparency" in image.info or getattr(image, "n_frames", 1) > 1:
                raise InvalidRequest(
                    f"{where}: expected one image, 8-bit grey or colour without transparency, got {image.format} "
                    f"{image.mode}"
                )
            pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    except _NOT_AN_IMAGE as error:
        raise InvalidRequest(f"{where}: expected a PNG or JPEG file, got one that cannot be read ({error})") from error
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def _pixels_alone(content: bytes) -> bytes:
    """A PNG without its text and profile chunks, each of which Pillow would decompress to up to 1 MiB."""
    if not content.startswith(_PNG):
        return content
    kept, offset = [_PNG], len(_PNG)
    while offset + 12 <= len(content):
        name, end = content[offset + 4 : offset + 8], offset + 12 + int.from_bytes(content[offset : offset + 4])
        if name[:1].isupper() or name in _KEPT_CHUNKS:
            kept.append(content[offset:end])
        offset = end
        if name == b"IEND":
            break
    else:
        raise EOFError("it is cut short")
    return b"".join(kept)
