"""The user's own arrays as canonical pixels and class labels. Ambiguous arrays are rejected, never guessed."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distill_worker.errors import DataError

Scale = Literal["0 to 255", "0 to 1"]

_CHUNK = 1024
"""Samples that are converted at once: all that exists as floating-point copies."""


def images_from(array: NDArray[Any], *, where: str) -> tuple[NDArray[np.uint8], Scale]:
    """uint8 `[samples, channels, height, width]`, and the scale of the values.

    The layout is `[samples, height, width]`, or four axes of which either the last or the second is 1 or 3.
    uint8 values are pixels. Floating-point values up to 1 are multiplied by 255 and rounded; whole ones up to 255, of
    which one is 128 or more, are pixels.

    Args:
        array: as it was stored.
        where: the start of messages.

    Raises:
        DataError: another layout, or values on no clear scale.
    """
    images = _channels_second(array, where)
    if images.dtype == np.uint8:
        return images, "0 to 255"
    scale = _scale(images, where)
    pixels = np.empty(images.shape, dtype=np.uint8)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        pixels[start : start + _CHUNK] = np.rint(chunk * 255.0 if scale == "0 to 1" else chunk)
    return pixels, scale


def labels_from(array: NDArray[Any], *, where: str) -> NDArray[np.int64]:
    """int64 `[samples]` from integers `[samples]` or `[samples, 1]`.

    Raises:
        DataError: another shape, several labels a sample, another dtype, or a negative label.
    """
    if array.ndim == 2 and array.shape[1] != 1:
        raise DataError(
            f"{where}: expected one label a sample, [samples] or [samples, 1], got {list(array.shape)}; several "
            "labels a sample are not supported, and one-hot rows have a single 1"
        )
    if array.ndim not in (1, 2) or array.dtype.kind not in "iu":
        raise DataError(f"{where}: expected integers [samples] or [samples, 1], got {array.dtype} {list(array.shape)}")
    labels: NDArray[np.int64] = array.reshape(len(array)).astype(np.int64)
    if len(labels) and labels.min() < 0:
        raise DataError(f"{where}: expected classes numbered from 0, got {labels.min()}")
    return labels


def _channels_second(array: NDArray[Any], where: str) -> NDArray[Any]:
    empty = 0 in array.shape[1:]
    if array.ndim == 3 and array.shape[2] not in (1, 3) and not empty:
        return array[:, None]
    if array.ndim == 4 and not empty:
        first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
        if first != last:
            return array if first else array.transpose(0, 3, 1, 2)
    raise DataError(
        f"{where}: expected [samples, height, width], [samples, height, width, channels] or [samples, channels, "
        f"height, width] with 1 or 3 channels, in a shape that fits only one of them, got {list(array.shape)}"
    )


def _scale(images: NDArray[Any], where: str) -> Scale:
    if images.dtype.kind != "f":
        raise DataError(
            f"{where}: expected uint8, or floating-point values from 0 to 1, got {images.dtype}; store pixels of 0 to "
            "255 as uint8"
        )
    low, high, whole = np.inf, -np.inf, True
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        low, high = np.minimum(low, chunk.min()), np.maximum(high, chunk.max())  # keeps a NaN
        whole = whole and bool((chunk == np.rint(chunk)).all())
    if low >= 0 and high <= 1:
        return "0 to 1"
    if low >= 0 and 128 <= high <= 255 and whole:
        return "0 to 255"
    raise DataError(
        f"{where}: expected floating-point values from 0 to 1, or whole ones from 0 to 255 with one above 127, got "
        f"{'whole ' if whole else ''}values from {low:.9g} to {high:.9g}; store pixels of 0 to 255 as uint8"
    )
