"""Encoded pictures, as a sender had them on disk, to the pixels that the model's teacher takes.

Invariant: no picture is decoded before its header has said that it is of a format, a kind and a size that is taken, and
nothing in the file is unpacked but its pixels; so neither a small file that unpacks to gigabytes nor an unknown decoder
is ever run.
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
_KINDS: Final = ("1", "L", "P", "RGB")
"""Pillow's modes of what is taken: black and white, grey, palette and colour, of 8 bits, without transparency."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TOLD: Final = (b"tRNS", b"acTL")
"""Chunks besides the critical ones that say whether a PNG is taken: it is transparent, it is animated."""
_NOT_AN_IMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow raises at bytes that it cannot or will not read."""


def decode_pictures(encoded: Sequence[bytes], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Pixels, uint8 `[samples, channels, height, width]`, of PNG or JPEG files.

    Grey is repeated for a teacher that takes colour, and colour is weighed (ITU-R 601-2) for one that takes grey. An
    orientation that the file mentions is not followed.

    Args:
        encoded: one file's content each.
        shape: channels (1 or 3), height, width that every picture must have.

    Raises:
        InvalidRequest: one is not such a picture; the message says which, and why.
    """
    channels = shape[0]
    if channels not in (1, 3):
        raise InvalidRequest(f"images: this model takes {channels} channels, which no PNG or JPEG has; send UINT8")
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
                    f"{where}: expected a picture of {width} x {height} pixels, got {image.width} x {image.height}"
                )
            if image.mode not in _KINDS or "transparency" in image.info or getattr(image, "n_frames", 1) > 1:
                raise InvalidRequest(
                    f"{where}: expected one picture, 8-bit grey or colour without transparency, got {image.format} "
                    f"{image.mode}"
                )
            found = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    except _NOT_AN_IMAGE as error:
        raise InvalidRequest(f"{where}: expected a PNG or JPEG file, got one that cannot be read ({error})") from error
    return found.reshape(height, width, channels).transpose(2, 0, 1)


def _pixels_alone(content: bytes) -> bytes:
    """A PNG without its texts and profiles, each of which Pillow would unpack to as much as 1 MiB."""
    if not content.startswith(_PNG):
        return content
    kept, place = [_PNG], len(_PNG)
    while place + 12 <= len(content):
        name, end = content[place + 4 : place + 8], place + 12 + int.from_bytes(content[place : place + 4])
        if name[:1].isupper() or name in _TOLD:
            kept.append(content[place:end])
        place = end
        if name == b"IEND":
            break
    else:
        raise EOFError("it is cut short")
    return b"".join(kept)
