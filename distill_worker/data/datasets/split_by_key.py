"""A fixed split of samples that come without one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill_worker.data.datasets.dataset import Split, split_of
from distill_worker.data.pictures.reading import Picture
from distill_worker.errors import DataError
from shared.sample_key import sample_keys


def split_by_key(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    files: Sequence[Picture] | None = None,
    *,
    where: str,
    test_samples: int | None = None,
) -> tuple[Split, Split]:
    """Sort by sample key; the last ones are the test split.

    The split depends on pixels alone: on no random generator, no file name and no order of files. Equal images fall on
    one side, so the test split may be a little larger than `test_samples`.

    Args:
        images: uint8 `[samples, channels, height, width]`.
        labels: integers `[samples]`.
        files: the file of each sample, if any.
        where: the start of messages.
        test_samples: how many; 20 percent unless given, and at least one.

    Returns:
        Training and test split.

    Raises:
        DataError: images and labels do not go together, or nothing would be left to train on.
    """
    if len(images) != len(labels):
        raise DataError(f"{where}: expected a label for each image, got {len(images)} images but {len(labels)} labels")
    train, test = (
        split_of(images[part], labels[part], None if files is None else [files[row] for row in part])
        for part in rows_by_key(sample_keys(images), where=where, test_samples=test_samples)
    )
    return train, test


def rows_by_key(
    keys: Sequence[bytes], *, where: str, test_samples: int | None = None
) -> tuple[Sequence[int], Sequence[int]]:
    """The rows of the training and of the test split of samples with these keys; see `split_by_key`.

    Raises:
        DataError: nothing would be left to train on.
    """
    order = sorted(range(len(keys)), key=keys.__getitem__)
    cut = len(order) - (test_samples or max(1, len(order) // 5))
    while cut > 0 and keys[order[cut - 1]] == keys[order[cut]]:
        cut -= 1
    if cut <= 0:
        raise DataError(f"{where}: expected different images to split into training and test, got {len(set(keys))}")
    return order[:cut], order[cut:]
