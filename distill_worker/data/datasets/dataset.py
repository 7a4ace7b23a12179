"""A data set in memory.

Invariant: `images` hold the canonical pixels, the ones that are hashed, sent to the teacher and augmented. A teacher
that takes files is sent `files` in their place, where there are any.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill_worker.data.datasets.pictures import Picture


@dataclass(frozen=True)
class Split:
    """Samples and their labels, in a fixed order."""

    images: Tensor
    """uint8 `[samples, channels, height, width]`."""
    labels: Tensor
    """int64 `[samples]`."""
    files: Sequence[Picture] | None = None
    """The user's own file of each sample; None if the data set has no such files."""


@dataclass(frozen=True)
class Dataset:
    """A data set with its class names, statistics and default augmentation."""

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, in units of pixel / 255, over the training images."""
    std: tuple[float, ...]
    crop_padding: int
    horizontal_flip: bool
    validation: Split | None = None
    """The samples that a data set's makers set aside for validation; in neither `train` nor `test`."""
    classes_are_named: bool = True
    """Whether the data set names its classes; otherwise `class_names` are their numbers."""
    notes: tuple[str, ...] = ()
    """What the user should know of how the data were read: a sentence each."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def split_of(images: NDArray[np.uint8], labels: NDArray[np.int64], files: Sequence[Picture] | None = None) -> Split:
    """A split from uint8 `[samples, channels, height, width]`, integers `[samples]`, and the samples' files, if any."""
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)), files)
