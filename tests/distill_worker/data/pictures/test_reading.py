"""Several encoded pictures as pixels of one shape; test_kinds.py has every kind of picture."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill_worker.data.pictures.conversion import Shape
from distill_worker.data.pictures.reading import Picture, common_shape, read_in_parts, read_pictures
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.files import pixels


def _picture(image: Image.Image, name: str = "one", file_format: str = "PNG", **options: Any) -> Picture:
    file = BytesIO()
    image.save(file, format=file_format, **options)
    return Picture(name, lambda: BytesIO(file.getvalue()))


def _read(*pictures: Picture, image_size: tuple[int, int] | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return read_pictures(pictures, common_shape(pictures, image_size, where="here"), where="here")


def test_grey_pictures_among_coloured_ones_get_three_equal_channels() -> None:
    grey, colour = pixels(0, 5, 7), pixels(1, 5, 7, 3)
    read = _read(_picture(Image.fromarray(grey)), _picture(Image.fromarray(colour)))
    assert np.array_equal(read[0], np.stack([grey] * 3))
    assert np.array_equal(read[1], colour.transpose(2, 0, 1))


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
    with pytest.raises(DataError, match=r"^here: first: .*; last: [^;]*; replace or remove"):
        _read(cut(0, "first"), whole, cut(3, "last"))
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
