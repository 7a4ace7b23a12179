"""Every kind of array of images and of labels in an .npz file: what was put in, and what it becomes.

docs/pictures.md has the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.distill_worker.data.datasets.files import pixels

CLASSES = 3
IMAGES = pixels(0, 6, 4, 5, 3)
"""uint8 `[samples, height, width, channels]`."""
LABELS = np.array([2, 0, 1, 1, 0, 2])
NAMES = np.array(["猫", "ζώο", "dog"])
"""The names of the labels; their alphabetical order is another one."""


@dataclass(frozen=True)
class ArrayKind:
    """A kind of array."""

    name: str
    becomes: str
    arrays: Mapping[str, NDArray[Any]]
    """Beside or in place of `train_images` and `train_labels`; those of the test part are equal."""
    labels: NDArray[Any] | None = None
    """What the labels become, if not `LABELS`."""
    error: str | None = None
    """What the error says, as a pattern; None if the array is read."""


def array_kinds() -> list[ArrayKind]:
    """All of them, in the order of the table."""
    first = np.moveaxis(IMAGES, -1, 1)
    return [
        ArrayKind("images: uint8, the channels (1 or 3) last or second", "the pixels", {"train_images": first}),
        ArrayKind("images: floating-point, from 0 to 1", "1 becomes 255; a line says so", _of(IMAGES / 255)),
        ArrayKind(
            "images: floating-point, whole values from 0 to 255", "the pixels; a line says so", _of(IMAGES * 1.0)
        ),
        ArrayKind(
            "images: floating-point on another scale, or other integers",
            "an error that names the array and its scale",
            _of(IMAGES - 128.0),
            error="expected floating-point values from 0 to 1",
        ),
        ArrayKind("labels: integers from 0, `[samples]` or `[samples, 1]`", "the classes", _labelled(LABELS[:, None])),
        ArrayKind("labels: integers from 1, each of them there", "from 0; a line says so", _labelled(LABELS + 1)),
        ArrayKind(
            "labels: integers with gaps",
            "an error that names the class without samples",
            _labelled(LABELS * 2),
            error="expected training samples of every class, got none of 1",
        ),
        ArrayKind(
            "labels: strings, in any script",
            "the classes in the order of `class_names`, or else of the alphabet",
            _labelled(NAMES[LABELS]),
            labels=np.argsort(np.argsort(NAMES))[LABELS],
        ),
        ArrayKind("labels: one-hot rows", "the place of the 1", _labelled(np.eye(CLASSES)[LABELS])),
        ArrayKind(
            "labels: several classes a sample, or probabilities",
            "an error: one label a sample is expected",
            _labelled(np.eye(CLASSES)[LABELS] * 0.8 + 0.1),
            error="expected one label a sample",
        ),
    ]


def table_of_arrays() -> str:
    """The kinds as a Markdown table."""
    rows = [f"| {kind.name} | {kind.becomes} |" for kind in array_kinds()]
    return "\n".join(["| an array | becomes |", "|---|---|", *rows]) + "\n"


def _of(images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    return {"train_images": images}


def _labelled(labels: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    return {"train_labels": labels}
