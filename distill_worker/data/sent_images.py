"""Images as the files that a teacher is sent: the user's own ones, or PNG of pixels."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distill_worker.data.pictures.conversion import OpenPicture
from distill_worker.data.pictures.reading import Picture, read_picture
from distill_worker.data.pictures.rules import NEWEST
from distill_worker.errors import DataError

Files = Mapping[bytes, Sequence[Picture]]
"""The user's own files by sample key; several if they have the same pixels in the data set."""
_PNG: Final = "image/png"
_JPEG: Final = "image/jpeg"
_WITH_MORE_FRAMES: Final = "MPO"
"""Pillow's name of a JPEG with a second frame, as many phones write it. Vendors know it as a JPEG."""


def own_file(pictures: Sequence[Picture]) -> tuple[bytes, str]:
    """The content of a file as it is, and its media type.

    Several files may shrink to the same pixels, which is one sample: the one with the smallest SHA-256 is sent,
    so that a repeated request is the same, whatever the files are called.

    Raises:
        DataError: a file cannot be read.
    """
    try:
        contents = []
        for picture in pictures:
            with picture.open() as file:
                contents.append(file.read())
    except OSError as error:
        raise DataError(f"{pictures[0].name}: the file cannot be read ({error})") from error
    content = min(contents, key=lambda content: sha256(content).digest())
    return content, read_picture(
        Picture(pictures[0].name, lambda: BytesIO(content)),
        lambda opened: _media_type(opened.image.format or ""),
        where="data",
    )


def png_of_file(pictures: Sequence[Picture], size: tuple[int, int]) -> tuple[bytes, str]:
    """A file's picture in another size, (height, width), as PNG, and its media type.

    Raises:
        DataError: a file cannot be read.
    """
    content, _ = own_file(pictures)
    picture = Picture(pictures[0].name, lambda: BytesIO(content), rules=pictures[0].rules)
    return _png(read_picture(picture, lambda opened: opened.resized(size), where="data"))


def png_of_pixels(pixels: NDArray[np.uint8], size: tuple[int, int] | None = None) -> tuple[bytes, str]:
    """Pixels, uint8 `[channels, height, width]`, as PNG, and its media type; resized to (height, width), if given.

    Raises:
        DataError: the image is neither grey nor RGB.
    """
    if len(pixels) not in (1, 3):
        raise DataError(f"expected an image that is grey or RGB, got one of {len(pixels)} channels")
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    return _png(image if size is None else OpenPicture(image, NEWEST).resized(size))


def _media_type(image_format: str) -> str:
    return _JPEG if image_format == _WITH_MORE_FRAMES else Image.MIME.get(image_format, "application/octet-stream")


def _png(image: Image.Image) -> tuple[bytes, str]:
    file = BytesIO()
    image.save(file, format="PNG")
    return file.getvalue(), _PNG
