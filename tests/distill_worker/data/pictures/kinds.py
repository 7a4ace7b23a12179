"""Every kind of picture that the rules know: a file of it, and its pixels, computed from what was put in by hand.

docs/pictures.md has the table: `docs/write_pictures.py` writes it, and what it says of the first rules is measured.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distill_worker.data.pictures.reading import Picture, common_shape, read_pictures
from distill_worker.data.pictures.rules import FIRST, NEWEST, Rules
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.files import pixels
from tests.distill_worker.data.pictures.colour_profile import in_srgb, profile

Pixels = NDArray[Any]
COLOUR = pixels(0, 5, 7, 3)
"""uint8 `[height, width, 3]`, every value in use."""
GREY = pixels(1, 5, 7)
DEEP = (pixels(2, 5, 7).astype(np.uint16) << 8) + pixels(3, 5, 7)
_ALPHA = pixels(4, 5, 7)
_ORIENTATION = 0x0112
_SIGNED, _UNSIGNED = (struct.pack("<HHIHH", 339, 3, 1, sample_format, 0) for sample_format in (2, 1))
"""The tag SampleFormat of a TIFF. Pillow writes signed integers alone."""
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image[::-1].swapaxes(0, 1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image[:, ::-1].swapaxes(0, 1),
}
"""What makes the stored rows and columns upright, from the table of orientations in the EXIF specification."""


@dataclass(frozen=True)
class Kind:
    """A kind of picture."""

    name: str
    becomes: str
    """What it becomes, in words."""
    files: Sequence[bytes]
    expected: Sequence[Pixels] | None
    """`[height, width]` or `[height, width, 3]` for each file; None if none can be read."""
    tolerance: float = 0

    def difference(self, rules: Rules) -> float:
        """The largest difference from what is expected. Raises `DataError` if a file cannot be read."""
        assert self.expected is not None
        return max(_difference(read(file, rules), one) for file, one in zip(self.files, self.expected, strict=True))

    def by_first_rules(self) -> str:
        """What the first rules make of it, compared with the newest."""
        words = []
        for file in self.files:
            try:
                first = read(file, FIRST)
            except DataError:
                words.append("an error")
                continue
            try:
                newest = read(file, NEWEST)
            except DataError:
                words.append("pixels")
                continue
            words.append("the same" if np.array_equal(first, newest) else "other pixels")
        return " or ".join(dict.fromkeys(words))


def read(content: bytes, rules: Rules) -> NDArray[np.uint8]:
    """uint8 `[channels, height, width]` of a file with this content. Raises `DataError`."""
    picture = Picture("the picture", lambda: BytesIO(content), rules=rules)
    read: NDArray[np.uint8] = read_pictures([picture], common_shape([picture], None, where="here"), where="here")[0]
    return read


def encoded(image: Image.Image | Pixels, file_format: str = "PNG", **options: Any) -> bytes:
    """A file of an image."""
    file = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, file_format, **options)
    return file.getvalue()


def turned(orientation: int, file_format: str, image: Pixels = COLOUR, **options: Any) -> bytes:
    """A file whose EXIF data state an orientation."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return encoded(image, file_format, exif=exif, **options)


def upright(image: Pixels, orientation: int) -> Pixels:
    """Stored pixels, as they are to be looked at."""
    return _UPRIGHT[orientation](image) if orientation in _UPRIGHT else image


def on_white(image: Pixels, alpha: Pixels) -> Pixels:
    """Real-valued, of an image and its opacity."""
    share = alpha / 255 if image.ndim == 2 else (alpha / 255)[:, :, None]
    return image * share + 255 * (1 - share)


def kinds() -> list[Kind]:
    """All of them, in the order of the table."""
    black = GREY > 127
    palette = Image.fromarray(GREY % 4).convert("P")
    palette.putpalette(list(range(10, 130, 10)))
    see_through = palette.copy()
    colours = np.arange(10, 130, 10).reshape(4, 3)[GREY % 4]
    jpeg = np.asarray(Image.open(BytesIO(encoded(COLOUR, "JPEG"))))
    second = Image.fromarray(pixels(5, 5, 7, 3))
    floats = GREY.astype(np.float32) / 255
    long = (DEEP.astype(np.uint32) << 16) + 12345
    return [
        Kind(
            "colour of 8 bits (PNG, BMP, TIFF, PPM, WebP without loss)",
            "the pixels as they are stored",
            [encoded(COLOUR, one) for one in ("PNG", "BMP", "TIFF", "PPM")] + [encoded(COLOUR, "WEBP", lossless=True)],
            [COLOUR] * 5,
        ),
        Kind(
            "grey of 8 bits; black and white",
            "one channel, if all pictures of the data are grey; 0 and 255",
            [encoded(GREY), encoded(GREY, "JPEG", quality=100), encoded(black)],
            [GREY, np.asarray(Image.open(BytesIO(encoded(GREY, "JPEG", quality=100)))), black * 255],
        ),
        Kind("a palette", "its colours", [encoded(palette), encoded(palette, "GIF")], [colours] * 2),
        Kind(
            "turned, as EXIF data say (2 to 8) in JPEG, PNG or WebP",
            "upright",
            [
                *(turned(one, "JPEG") for one in _UPRIGHT),
                *(turned(one, file, **options) for file, options in _LOSSLESS.items() for one in _UPRIGHT),
            ],
            [
                *(upright(jpeg, one) for one in _UPRIGHT),
                *(upright(COLOUR, one) for _ in _LOSSLESS for one in _UPRIGHT),
            ],
        ),
        Kind(
            "turned, as its tag says, in TIFF",
            "upright",
            [turned(one, "TIFF") for one in _UPRIGHT],
            [upright(COLOUR, one) for one in _UPRIGHT],
        ),
        Kind(
            "transparency: a channel of opacity, in colour or grey",
            "on white",
            [encoded(np.dstack([COLOUR, _ALPHA])), encoded(Image.merge("LA", [*map(Image.fromarray, (GREY, _ALPHA))]))],
            [on_white(COLOUR, _ALPHA), on_white(GREY, _ALPHA)],
            tolerance=1,
        ),
        Kind(
            "transparency: in a palette, or of one colour",
            "on white",
            [
                encoded(see_through, transparency=bytes([0, 255, 255, 255])),
                encoded(COLOUR, transparency=tuple(int(value) for value in COLOUR[2, 3])),
                encoded(palette, "GIF", transparency=0),
            ],
            [
                on_white(colours, (GREY % 4 != 0) * 255),
                on_white(COLOUR, (COLOUR[2, 3] != COLOUR).any(2) * 255),
                on_white(colours, (GREY % 4 != 0) * 255),
            ],
        ),
        Kind(
            "colours for print (CMYK)",
            "sRGB",
            [
                encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "TIFF"),
                encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95),
            ],
            [np.full((16, 16, 3), (0, 255, 255))] * 2,
            tolerance=3,
        ),
        Kind(
            "colours with a profile, such as Adobe RGB or Display P3",
            "sRGB",
            [encoded(COLOUR, icc_profile=profile("wide"))],
            [in_srgb(COLOUR)],
            tolerance=2,
        ),
        Kind(
            "colours with the profile of sRGB, or with a damaged one",
            "the pixels as they are stored",
            [encoded(COLOUR, icc_profile=content) for content in (profile("sRGB IEC61966-2.1"), b"no profile")],
            [COLOUR] * 2,
        ),
        Kind(
            "LAB colours",
            "sRGB",
            [encoded(Image.new("LAB", (7, 5), (255, 128, 128)), "TIFF")],
            [np.full((5, 7, 3), 255)],
            tolerance=2,
        ),
        Kind(
            "grey of 16 bits (PNG, TIFF, PGM)",
            "65,535 becomes 255, also where a picture uses a part of the range",
            [encoded(DEEP), encoded(DEEP, "TIFF"), b"P5 7 5 65535\n" + DEEP.astype(">u2").tobytes()],
            [DEEP / 257] * 3,
            tolerance=0.5,
        ),
        Kind(
            "grey of 32 bits (TIFF)",
            "4,294,967,295 becomes 255",
            [encoded(Image.frombytes("I", (7, 5), long.tobytes()), "TIFF").replace(_SIGNED, _UNSIGNED)],
            [long / (2**32 - 1) * 255],
            tolerance=0.5,
        ),
        Kind("floating-point grey from 0 to 1 (TIFF)", "1 becomes 255", [encoded(floats, "TIFF")], [GREY]),
        Kind(
            "grey of 16 or 32 bits with no value above 255 or 16,777,215; negative or other floating-point values",
            "an error that names the picture: it would be black, or its scale is not known",
            [
                encoded(image, "TIFF")
                for image in (GREY.astype(np.uint16), GREY.astype(np.int32), -long.astype(np.int32), floats * 255)
            ],
            None,
        ),
        Kind("colour of 16 bits (PNG)", "its higher 8 bits", [_png_of_16_bits()], [COLOUR]),
        Kind(
            "animated (GIF, PNG, WebP), or of several pages (TIFF)",
            "the first picture",
            [
                encoded(palette, "GIF", save_all=True, append_images=[second]),
                *(
                    encoded(COLOUR, one, save_all=True, append_images=[second], **options)
                    for one, options in {**_LOSSLESS, "TIFF": {}}.items()
                ),
            ],
            [colours, *[COLOUR] * 3],
        ),
        Kind(
            "damaged, cut short, or empty",
            'an error that names the picture; `data.unreadable = "skip"` leaves it out',
            [b"", b"none", encoded(pixels(6, 64, 64, 3))[:2000]],
            None,
        ),
    ]


_LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WEBP": {"lossless": True}}


def table() -> str:
    """The kinds as a Markdown table."""
    rows = [f"| {kind.name} | {kind.becomes} | {kind.by_first_rules()} |" for kind in kinds()]
    return "\n".join(["| a picture | becomes | by rules 1 |", "|---|---|---|", *rows]) + "\n"


def _difference(got: NDArray[np.uint8], expected: Pixels) -> float:
    wanted = expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1)
    assert got.shape == wanted.shape, f"expected the shape {wanted.shape}, got {got.shape}"
    return float(np.abs(got.astype(float) - wanted).max())


def _png_of_16_bits() -> bytes:
    """`COLOUR` with other lower bytes; Pillow writes no such file."""
    values = (COLOUR.astype(np.uint16) << 8) + pixels(7, 5, 7, 3)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
