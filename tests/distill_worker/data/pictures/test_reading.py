"""Encoded pictures of every kind as pixels, against what was encoded."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill_worker.data.pictures.reading import Picture, Shape, common_shape, read_in_parts, read_pictures
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.files import pixels


def _picture(image: Image.Image, name: str = "one", file_format: str = "PNG", **options: Any) -> Picture:
    file = BytesIO()
    image.save(file, format=file_format, **options)
    return Picture(name, lambda: BytesIO(file.getvalue()))


def _read(*pictures: Picture, image_size: tuple[int, int] | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return read_pictures(pictures, common_shape(pictures, image_size, where="here"), where="here")


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_colours_are_kept(file_format: str) -> None:
    stored = pixels(0, 5, 7, 3)
    read = _read(_picture(Image.fromarray(stored), file_format=file_format))
    assert read.dtype == np.uint8
    assert read.shape == (1, 3, 5, 7)
    for channel in range(3):
        assert np.array_equal(read[0, channel], stored[:, :, channel])


def test_grey_pictures_stay_grey() -> None:
    stored = pixels(0, 2, 5, 7)
    read = _read(*(_picture(Image.fromarray(image)) for image in stored))
    assert np.array_equal(read, stored[:, None])


def test_grey_pictures_among_coloured_ones_get_three_equal_channels() -> None:
    grey, colour = pixels(0, 5, 7), pixels(1, 5, 7, 3)
    read = _read(_picture(Image.fromarray(grey)), _picture(Image.fromarray(colour)))
    assert np.array_equal(read[0], np.stack([grey] * 3))
    assert np.array_equal(read[1], colour.transpose(2, 0, 1))


def test_black_and_white_becomes_0_and_255() -> None:
    stored = pixels(0, 5, 7) > 127
    assert np.array_equal(_read(_picture(Image.fromarray(stored)))[0, 0], stored * 255)


def test_transparency_is_dropped_without_a_warning() -> None:
    """In the pixels, and in a palette."""
    colour, alpha = pixels(0, 5, 7, 3), pixels(1, 5, 7, 1)
    read = _read(_picture(Image.fromarray(np.concatenate([colour, alpha], axis=2))))
    assert np.array_equal(read[0], colour.transpose(2, 0, 1))
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    read = _read(_picture(palette, transparency=b"\x00\xff"))
    assert read[0].tolist() == [[[10, 40]], [[20, 50]], [[30, 60]]]


def test_print_colours_become_screen_colours() -> None:
    """No ink is white, and all of a colour leaves none of its opposite; JPEG keeps this to within 3."""
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    read = _read(_picture(image, file_format="JPEG", quality=95)).astype(int)
    assert np.abs(read - np.array([0, 255, 255])[None, :, None, None]).max() <= 3


def test_size_is_asked_for_when_pictures_differ() -> None:
    pictures = [_picture(Image.fromarray(pixels(0, height, 7)), f"picture {height}") for height in (5, 5, 9)]
    with pytest.raises(DataError, match=r"^here: expected data.image_size, .*picture 5 is 5x7, picture 9 is 9x7"):
        common_shape(pictures, None, where="here")
    assert common_shape(pictures, (4, 6), where="here") == Shape("L", 4, 6)


def test_resized_picture_is_averaged_over_what_it_covers() -> None:
    """A chessboard at a quarter of its size is grey; without antialiasing it would be black or white."""
    board = (np.indices((32, 64)).sum(0) % 2 * 255).astype(np.uint8)
    read = _read(_picture(Image.fromarray(board)), image_size=(8, 16))
    assert read.shape == (1, 1, 8, 16)
    assert np.abs(read.astype(int) - 127.5).max() < 8


def test_picture_of_the_right_size_is_left_as_it_is() -> None:
    stored = pixels(0, 5, 7)
    read = _read(_picture(Image.fromarray(stored)), _picture(Image.fromarray(pixels(1, 9, 9))), image_size=(5, 7))
    assert np.array_equal(read[0, 0], stored)


@pytest.mark.parametrize("values", [pixels(0, 4, 4).astype(np.uint16) * 257, pixels(0, 4, 4).astype(np.float32)])
def test_more_than_8_bits_are_refused(values: np.ndarray[Any, Any]) -> None:
    """Pillow would cut them off at 255."""
    picture = _picture(Image.fromarray(values), "deep", file_format="TIFF")
    with pytest.raises(DataError, match=r"^here: deep: expected 8 bits a channel, grey or colour, got mode"):
        common_shape([picture], None, where="here")


@pytest.mark.parametrize("image_size", [(0, 4), (4, -1)])
def test_size_of_nothing_is_refused(image_size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"^data.image_size: expected a positive height and width, got \["):
        common_shape([_picture(Image.fromarray(pixels(0, 4, 4)))], image_size, where="here")


def test_no_pictures_are_refused() -> None:
    with pytest.raises(DataError, match=r"^here: expected pictures, got none"):
        common_shape([], (4, 4), where="here")


@pytest.mark.parametrize("kept", [0, 1, 20, 1000])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "PPM"])
def test_picture_that_is_cut_short_is_named(file_format: str, kept: int) -> None:
    """Whether its head can still be read or not."""
    file = BytesIO()
    Image.fromarray(pixels(0, 32, 32, 3)).save(file, format=file_format)
    damaged = Picture("broken one", lambda: BytesIO(file.getvalue()[:kept]))
    with pytest.raises(DataError, match=r"^here: broken one: expected a picture, got an unreadable file"):
        _read(damaged)


def test_all_damaged_pictures_are_named_at_once() -> None:
    """Those whose head cannot be read, and those that are cut short after it; good ones are not named."""
    file = BytesIO()
    Image.fromarray(pixels(0, 32, 32, 3)).save(file, format="PNG")

    def cut(kept: int, name: str) -> Picture:
        return Picture(name, lambda: BytesIO(file.getvalue()[:kept]))

    whole = cut(10**6, "whole")
    deep = _picture(Image.fromarray(pixels(0, 4, 4).astype(np.uint16) * 257), "deep", file_format="TIFF")
    with pytest.raises(DataError, match=r"^here: first: .*; deep: expected 8 bits .*; last: [^;]*; replace or remove"):
        _read(cut(0, "first"), whole, deep, cut(3, "last"))
    with pytest.raises(DataError, match=r"^here: one: .*; two: ") as error:
        _read(cut(1000, "one"), whole, cut(1000, "two"))
    assert "whole" not in str(error.value)


def test_message_on_many_damaged_pictures_counts_them() -> None:
    damaged = [Picture(f"picture {number}", lambda: BytesIO(b"none")) for number in range(25)]
    with pytest.raises(DataError, match=r"picture 19: .*; and 5 more$") as error:
        _read(*damaged)
    assert "picture 20" not in str(error.value)


def test_one_error_names_the_damaged_pictures_of_all_parts() -> None:
    damaged = [[Picture(name, lambda: BytesIO(b"none"))] for name in ("train 1", "test 1")]
    with pytest.raises(DataError, match=r"train 1: .*; test 1: "):
        read_in_parts(damaged, Shape("L", 4, 4), where="here")
