"""What an opened picture becomes: 8 bits a channel, grey or RGB, in one shape.

Since rules 2, a picture is upright as its EXIF data say, transparent parts are white, colours are converted from their
profile to sRGB, and greys of 16 or 32 bits are scaled to 8. Of an animation, the first frame counts. A colour of 16
bits loses its lower ones when Pillow reads it.
"""

import re
import struct
import warnings
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from distill_worker.data.pictures.rules import FIRST, Rules

MODES: Final = {1: "L", 3: "RGB"}
"""The mode of the pictures of a data set, as Pillow names it, by the number of channels."""
_GREY: Final = frozenset({"1", "L", "LA"})
"""The modes of grey pictures of 8 bits, as Pillow names them."""
_DEEP_GREY: Final = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
_COLOUR: Final = frozenset({"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"})
_READ: Final = {1: _GREY | _COLOUR, 2: _GREY | _DEEP_GREY | _COLOUR | {"LAB"}}
_SIGNED, _WHITE_IS_ZERO = 2, 0
"""Values of the tags of a TIFF."""
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by the orientation in its EXIF data."""
_ON_THEIR_SIDE: Final = (5, 6, 7, 8)
_SRGB: Final = ImageCms.createProfile("sRGB")
_IS_SRGB: Final = re.compile(r"(?<![\w-])(?<!linear )sRGB\b(?!.*linear)", re.IGNORECASE)
"""In the description of a profile; not e-sRGB, and not linear."""
_PROFILES: Final = 64
"""Colour profiles that are kept, of the pictures read last."""

# Pillow says so without the name of the file, whose pixels need not be damaged.
warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)


class UnfitPicture(Exception):
    """A picture that can be read, but whose values have no clear meaning."""


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

    @property
    def bytes(self) -> int:
        """Of the pixels of one picture."""
        return self.channels * self.height * self.width


class FirstLook(NamedTuple):
    """What the first rules may make of a picture, where that can differ from what these rules make of it."""

    is_read: bool
    is_turned: bool
    """Whether height and width change places."""


class OpenPicture(NamedTuple):
    """A picture whose file is open."""

    image: Image.Image
    rules: Rules

    def head(self) -> Head:
        """What it is, before its pixels are decoded. Raises `UnfitPicture`."""
        mode, height, width = self.image.mode, self.image.height, self.image.width
        if mode not in _READ[self.rules]:
            kinds = "8 bits a channel, grey or colour" if self.rules == FIRST else "a grey or a colour picture"
            raise UnfitPicture(f"expected {kinds}, got mode {mode}; convert it")
        if self.rules > FIRST and _orientation(self.image) in _ON_THEIR_SIDE:
            height, width = width, height
        return Head(mode in _GREY | _DEEP_GREY, (height, width))

    def converted(self, shape: Shape) -> Image.Image:
        """In this shape; resized, where it has another size, with antialiasing to the whole. Raises `UnfitPicture`."""
        return _shaped(self.image if self.rules == FIRST else _plain(self.image), shape)

    def first_look(self) -> FirstLook | None:
        """How the first rules see it; None if they certainly give the same pixels in the same shape."""
        image, orientation = self.image, _orientation(self.image)
        if self.rules == FIRST:
            return None
        if image.mode not in _READ[FIRST]:
            return FirstLook(is_read=False, is_turned=False)
        is_plain = orientation == 1 and not image.has_transparency_data and "icc_profile" not in image.info
        return None if is_plain else FirstLook(is_read=True, is_turned=orientation in _ON_THEIR_SIDE)

    def converted_first(self, shape: Shape) -> Image.Image:
        """As `converted`, but by the first rules."""
        return _shaped(self.image, shape)

    def check(self) -> None:
        """Decode it for nothing else. Raises `UnfitPicture`, or what Pillow raises for damaged files."""
        head = self.head()
        self.converted(Shape("L" if head.is_grey else "RGB", *head.size))

    def resized(self, size: tuple[int, int]) -> Image.Image:
        """Grey or RGB, as it is, in another size: height and width. Raises `UnfitPicture`."""
        return self.converted(Shape("L" if self.head().is_grey else "RGB", *size))


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """uint8 `[channels, height, width]` of a grey or an RGB picture."""
    return np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)


def _shaped(image: Image.Image, shape: Shape) -> Image.Image:
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # Pillow warns of a palette's transparency that is lost at once
    image = image.convert(shape.mode)
    if image.size != (shape.width, shape.height):
        image = image.resize((shape.width, shape.height), Image.Resampling.BILINEAR)
    return image


def _plain(image: Image.Image) -> Image.Image:
    """Upright, grey or RGB, 8 bits a channel, opaque, and in sRGB."""
    turn = _TURNS.get(_orientation(image))
    if image.mode in _DEEP_GREY:
        image = _of_8_bits(image)
    image = _on_white(_in_srgb(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """As EXIF data before the pixels state it, from 1 (upright) to 8. Pillow makes TIFF upright by itself."""
    if image.format == "TIFF":
        return 1
    try:  # that of the class PngImageFile would decode all pixels, to look for EXIF data behind them
        stated = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, struct.error):  # they are damaged; the pixels need not be
        return 1
    return stated if stated in _TURNS else 1


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    mode = "L" if image.mode in _GREY else "RGB"
    picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), picture).convert(mode)


def _in_srgb(image: Image.Image) -> Image.Image:
    """A colour picture whose profile is another than sRGB, or that has LAB colours, in sRGB; others as they are."""
    profile = image.info.get("icc_profile")
    if image.mode in _GREY or not (profile or image.mode == "LAB"):
        return image
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode not in ("CMYK", "LAB"):
        image = image.convert("RGB")
    transform = _to_srgb(profile, image.mode)
    if transform is not None:
        image = ImageCms.applyTransform(image, transform) or image
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(alpha)
    return image


@lru_cache(_PROFILES)
def _to_srgb(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None if the profile is that of sRGB, is damaged, or is for other colours than the picture's: it is ignored."""
    try:
        if mode == "LAB":
            return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _SRGB, "LAB", "RGB")
        source = ImageCms.getOpenProfile(BytesIO(profile or b""))
        if _IS_SRGB.search(source.profile.profile_description or ""):
            return None
        return ImageCms.buildTransform(source, _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _of_8_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits. Its whole range becomes that of 8 bits, whatever part of it a picture uses.

    Raises:
        UnfitPicture: the values are on another scale, so that the picture would be black.
    """
    values: NDArray[Any] = np.asarray(image)
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    if tags.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        raise UnfitPicture("expected 0 to be black in a grey picture of more than 8 bits, got white; convert it")
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):
            raise UnfitPicture(f"expected floating-point values from 0 to 1, got {low:g} to {high:g}; convert it")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    stated = tags.get(BITSPERSAMPLE, (16,))[0]  # a PGM of 16 bits is read as 32
    highest = (1 << (32 if stated > 16 else 16)) - 1
    if stated not in (16, 32):
        raise UnfitPicture(f"expected grey of 8, 16 or 32 bits, got {stated}; convert it")
    if tags.get(SAMPLEFORMAT, (1,))[0] == _SIGNED and low < 0:
        raise UnfitPicture(f"expected no negative values, got {low}; convert it")
    unsigned = values.astype(np.int64) & highest
    if 0 < (largest := int(unsigned.max())) <= highest // 256:
        raise UnfitPicture(
            f"expected values of {stated} bits, got none above {largest}, so that it would be black; convert it"
        )
    grey = Image.fromarray(((unsigned * 255 + highest // 2) // highest).astype(np.uint8))
    if (clear := image.info.get("transparency")) is not None:
        grey.paste(255, mask=Image.fromarray(unsigned == clear))
    return grey
