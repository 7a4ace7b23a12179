"""A data set whose images are in memory, or mapped from a store.

Invariant: `images` hold the canonical pixels, the ones that are hashed, sent to the teacher and augmented. A teacher
that takes files is sent `files` in their place, where there are any.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill_worker.data.digest import digest
from distill_worker.data.pictures.reading import Picture
from distill_worker.data.pictures.store import StoredPart
from distill_worker.errors import DataError
from shared.sample_key import sample_keys


@dataclass(frozen=True)
class Split:
    """Samples and their labels, in a fixed order."""

    images: Tensor
    """uint8 `[samples, channels, height, width]`."""
    labels: Tensor | None
    """int64 `[samples]`; None if the samples have none."""
    files: Sequence[Picture] | None = None
    """The user's own file of each sample; None if the data set has no such files."""
    stored: StoredPart | None = None
    """What is known of the images if they are mapped from a store."""

    find_first_keys: Callable[[Sequence[Picture], Sequence[bytes]], Mapping[bytes, bytes]] | None = None
    """Finds `first_keys` from files and keys, where that is not known from a store."""

    @cached_property
    def keys(self) -> list[bytes]:
        """The sample keys of the images, in order."""
        return sample_keys(self.images.numpy()) if self.stored is None else self.stored.keys

    @cached_property
    def first_keys(self) -> Mapping[bytes, bytes]:
        """The sample keys by the first rules of those pictures that these read differently, by their own keys.

        Raises:
            DataError: a file can no longer be read.
        """
        if self.stored is not None:
            return self.stored.first_keys
        return {} if self.find_first_keys is None or self.files is None else self.find_first_keys(self.files, self.keys)

    def digest(self) -> str:
        """A hash of the images, as `data.digest.digest` gives it."""
        return digest(self.images) if self.stored is None else self.stored.digest(self.images)

    @property
    def needed_labels(self) -> Tensor:
        """The labels, where there is no way without them. Raises `DataError` if the samples have none."""
        if self.labels is None:
            raise DataError("data.labels: expected data with labels, got images without")
        return self.labels


@dataclass(frozen=True)
class Dataset:
    """A data set with its class names, statistics and default augmentation."""

    name: str
    train: Split
    test: Split
    """Of an unlabelled data set, it may be empty."""
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
    def is_labelled(self) -> bool:
        """Whether the training samples have labels."""
        return self.train.labels is not None

    @property
    def has_test(self) -> bool:
        """Whether there are test samples, which have labels."""
        return self.test.labels is not None and len(self.test.labels) > 0

    def without_labels(self) -> "Dataset":
        """The data set whose training samples have no labels; its test samples keep theirs."""
        return replace(self, train=replace(self.train, labels=None), validation=None)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def split_of(images: NDArray[np.uint8], labels: NDArray[np.int64], files: Sequence[Picture] | None = None) -> Split:
    """A split from uint8 `[samples, channels, height, width]`, integers `[samples]`, and the samples' files, if any."""
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)), files)


def unlabelled(images: NDArray[np.uint8], files: Sequence[Picture] | None = None) -> Split:
    """A split without labels from uint8 `[samples, channels, height, width]`, and the samples' files, if any."""
    return Split(torch.from_numpy(np.ascontiguousarray(images)), None, files)
