"""Encoded pictures, as canonical pixels of one shape.

The pixels of a JPEG, and of any picture that is resized, depend on the Pillow that decodes it; those of a PNG do not.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distill_worker.errors import DataError

Result = TypeVar("Result")

MODES: Final = {1: "L", 3: "RGB"}
"""The mode of the pictures of a data set, as Pillow names it, by the number of channels."""
GREY: Final = frozenset({"1", "L", "LA"})
"""The modes of grey pictures, as Pillow names them."""
_COLOUR = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"}
# The errors that Pillow raises for damaged files.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_MOST_FAULTS: Final = 20
"""Pictures that a message names."""


class _OtherMode(Exception):
    """A picture whose pixels are not 8 bits a channel."""


@dataclass(frozen=True)
class Picture:
    """An encoded picture that can be opened, any number of times."""

    name: str
    """For messages."""
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Head:
    """What the head of an encoded picture says of its pixels."""

    is_grey: bool
    size: tuple[int, int]
    """Height and width."""


@dataclass(frozen=True)
class Shape:
    """The shape to which all pictures of a data set are converted."""

    mode: str
    """`L` or `RGB`."""
    height: int
    width: int

    @property
    def channels(self) -> int:
        """1 or 3."""
        return next(channels for channels, mode in MODES.items() if mode == self.mode)


def common_shape(pictures: Sequence[Picture], image_size: tuple[int, int] | None, *, where: str) -> Shape:
    """Grey if all pictures are; of `image_size` (height, width), or of the one size that they all have.

    Only the heads of the files are read.

    Raises:
        DataError: a picture cannot be read, or they differ in size and no `image_size` is given.
    """
    if image_size is not None and min(image_size) < 1:
        raise DataError(f"data.image_size: expected a positive height and width, got {list(image_size)}")
    grey, sizes = True, dict[tuple[int, int], str]()
    for picture, head in zip(pictures, heads(pictures, where=where), strict=True):
        grey = grey and head.is_grey
        sizes.setdefault(head.size, picture.name)
    if not sizes:
        raise DataError(f"{where}: expected pictures, got none")
    if image_size is None and len(sizes) > 1:
        (one, first), (other, second) = list(sizes.items())[:2]
        raise DataError(
            f"{where}: expected data.image_size, because the pictures differ: {first} is {one[0]}x{one[1]}, {second} "
            f"is {other[0]}x{other[1]} (height x width); set for example data.image_size = [32, 32]"
        )
    return Shape("L" if grey else "RGB", *(image_size or next(iter(sizes))))


def heads(pictures: Sequence[Picture], *, where: str) -> list[Head]:
    """The head of each picture; no pixels are decoded.

    Raises:
        DataError: names the pictures that cannot be read, or whose channels do not have 8 bits.
    """
    return [head for _, head in _each(pictures, _head, where)]


def read_pictures(pictures: Sequence[Picture], shape: Shape, *, where: str) -> NDArray[np.uint8]:
    """uint8 `[pictures, channels, height, width]`; resized, where they differ, with antialiasing to the whole shape.

    Transparency is dropped, and a stored orientation is ignored: the pixels stay as they are stored.

    Raises:
        DataError: names the pictures that cannot be read.
    """
    pixels = np.empty((len(pictures), shape.channels, shape.height, shape.width), dtype=np.uint8)
    for row, (_, decoded) in zip(
        pixels, _each(pictures, lambda image: np.asarray(converted(image, shape)), where), strict=True
    ):
        row[:] = decoded.reshape(shape.height, shape.width, -1).transpose(2, 0, 1)
    return pixels


def read_in_parts(parts: Sequence[Sequence[Picture]], shape: Shape, *, where: str) -> list[NDArray[np.uint8]]:
    """The pictures of each part as `read_pictures` reads them; one error names those of all parts."""
    pixels = read_pictures([picture for part in parts for picture in part], shape, where=where)
    return np.split(pixels, np.cumsum([len(part) for part in parts])[:-1])


def _head(image: Image.Image) -> Head:
    if image.mode not in GREY | _COLOUR:
        raise _OtherMode(f"expected 8 bits a channel, grey or colour, got mode {image.mode}; convert it")
    return Head(image.mode in GREY, (image.height, image.width))


def read_picture(picture: Picture, read: Callable[[Image.Image], Result], *, where: str) -> Result:
    """What `read` returns of one opened picture. Raises `DataError`."""
    ((_, result),) = _each([picture], read, where)
    return result


def converted(image: Image.Image, shape: Shape) -> Image.Image:
    """A picture in another mode and size; transparency is dropped, and a stored orientation is ignored."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # Pillow warns of a palette's transparency that is lost at once
    image = image.convert(shape.mode)
    if image.size != (shape.width, shape.height):
        image = image.resize((shape.width, shape.height), Image.Resampling.BILINEAR)
    return image


def _each(
    pictures: Sequence[Picture], read: Callable[[Image.Image], Result], where: str
) -> Iterator[tuple[Picture, Result]]:
    """Each picture with what is read from it. At the end, one error names all pictures that cannot be used."""
    faults: list[str] = []
    for picture in pictures:
        try:
            with picture.open() as file, Image.open(file) as image:
                result = read(image)
        except _OtherMode as error:
            faults.append(f"{picture.name}: {error}")
        except _UNREADABLE as error:
            faults.append(f"{picture.name}: expected a picture, got an unreadable file ({error}); replace or remove it")
        else:
            yield picture, result
    if faults:
        more = len(faults) - _MOST_FAULTS
        raise DataError(f"{where}: {'; '.join(faults[:_MOST_FAULTS])}" + (f"; and {more} more" if more > 0 else ""))
