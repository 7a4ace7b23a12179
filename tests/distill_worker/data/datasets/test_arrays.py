"""Layouts and scales: what is clear is read, what is not is refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray

from distill_worker.data.datasets.arrays import images_from, labels_from
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.files import pixels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_channels_are_found_on_either_side(channels: int, last: bool) -> None:
    stored = pixels(0, 2, 4, 5, channels) if last else pixels(0, 2, channels, 4, 5)
    images, scale = images_from(stored, where="here")
    assert images.shape == (2, channels, 4, 5)
    assert scale == "0 to 255"
    for sample in range(2):
        for channel in range(channels):
            expected = stored[sample, :, :, channel] if last else stored[sample, channel]
            assert np.array_equal(images[sample, channel], expected)


def test_three_axes_are_grey() -> None:
    stored = pixels(0, 2, 4, 5)
    assert np.array_equal(images_from(stored, where="here")[0], stored.reshape(2, 1, 4, 5))


@pytest.mark.parametrize(
    "shape", [(4,), (4, 5), (4, 5, 3), (4, 5, 1), (2, 3, 5, 3), (2, 1, 5, 3), (2, 4, 5, 2), (2, 4, 5, 6, 3), (2, 0, 5)]
)
def test_layout_that_is_not_clear_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"^here: expected \[samples, height, width\].*got \["):
        images_from(np.zeros(shape, dtype=np.uint8), where="here")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("divisor", [1, 255])
def test_every_pixel_survives_as_a_floating_point_number(dtype: DTypeLike, divisor: int) -> None:
    """More samples than are converted at once; each of the 256 values is there."""
    stored = np.arange(1100 * 4 * 4).reshape(1100, 4, 4) % 256
    images, scale = images_from((stored / divisor).astype(dtype), where="here")
    assert images.dtype == np.uint8
    assert np.array_equal(images[:, 0], stored)
    assert scale == ("0 to 255" if divisor == 1 else "0 to 1")


def test_value_between_two_pixels_is_rounded_to_the_nearer() -> None:
    stored = np.array([[[0.0, 0.4, 0.6, 254.6]]]) / 255
    assert images_from(stored, where="here")[0].tolist() == [[[[0, 0, 1, 255]]]]


def _values(*values: float) -> NDArray[np.float64]:
    return np.array([[[0.0, *values, 1.0, 1.0, 1.0]]])


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (_values(1.5), "got values from 0 to 1.5"),
        (_values(127.3, 255), "got values from 0 to 255"),
        (_values(16), "got whole values from 0 to 16"),
        (_values(127), "got whole values from 0 to 127"),
        (_values(200, 256), "got whole values from 0 to 256"),
        (_values(-1), "got whole values from -1 to 1"),
        (_values(-0.1), "got values from -0.1 to 1"),
        (_values(float("nan")), "got values from nan to nan"),
        (_values(float("inf")), "got whole values from 0 to inf"),
        (_values(1.0000001), "got values from 0 to 1.0000001"),
    ],
)
def test_scale_that_is_not_clear_is_refused(stored: NDArray[np.float64], found: str) -> None:
    with pytest.raises(DataError, match=f"^here: expected floating-point values .*{found};"):
        images_from(stored, where="here")


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.int8, np.bool_, np.complex64, np.str_])
def test_other_dtypes_are_refused(dtype: DTypeLike) -> None:
    with pytest.raises(DataError, match=r"^here: expected uint8, or floating-point values from 0 to 1, got"):
        images_from(np.ones((2, 4, 5), dtype=dtype), where="here")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_labels_are_integers_in_one_column(dtype: DTypeLike, shape: tuple[int, ...]) -> None:
    labels = labels_from(np.array([2, 0, 1], dtype=dtype).reshape(shape), where="here")
    assert labels.dtype == np.int64
    assert labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.eye(3, dtype=np.int64), r"one label a sample, .*got \[3, 3\].*single 1"),
        (np.zeros((3, 0), dtype=np.int64), r"one label a sample, .*got \[3, 0\]"),
        (np.zeros((3, 1, 1), dtype=np.int64), r"got int64 \[3, 1, 1\]"),
        (np.array(3), r"got int64 \[\]"),
        (np.array([0.0, 1.0]), r"got float64 \[2\]"),
        (np.array([True, False]), r"got bool \[2\]"),
        (np.array(["cat", "dog"]), r"got <U3 \[2\]"),
        (np.array([0, -1]), "classes numbered from 0, got -1"),
    ],
)
def test_labels_of_another_kind_are_refused(stored: NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^here: expected .*{message}"):
        labels_from(stored, where="here")
