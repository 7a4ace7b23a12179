"""Splits of the user's own image files: mapped from a store, or decoded into memory where there is none."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distill_worker.data.datasets.dataset import Split
from distill_worker.data.datasets.split_by_key import rows_by_key, split_by_key
from distill_worker.data.pictures.reading import PictureFiles, common_shape, joined, read_in_parts
from distill_worker.data.pictures.store import Source, stored, stored_keys

Labels = NDArray[np.int64]


def splits_of(
    parts: Sequence[tuple[PictureFiles, Labels | None]],
    path: Path,
    image_size: tuple[int, int] | None,
    store: Path | None,
    *,
    where: str,
) -> list[Split]:
    """The splits of these parts, each with its labels if it has any.

    Args:
        parts: image files, and integers `[files]`.
        path: the folder or list that they are from.
        image_size: height and width to resize them to; needed where they differ.
        store: the folder of all stores.
        where: the start of messages.

    Raises:
        DataError: names the files that cannot be read, or says why the store cannot be used.
    """
    pictures = [of_part for of_part, _ in parts]
    labels = [None if of_part is None else torch.from_numpy(of_part) for _, of_part in parts]
    if store is None:
        shape = common_shape(joined(pictures), image_size, where=where)
        return [
            Split(torch.from_numpy(pixels), of_part, files)
            for pixels, of_part, files in zip(
                read_in_parts(pictures, shape, where=where), labels, pictures, strict=True
            )
        ]
    return [
        Split(one.images, of_part, files, one.part)
        for one, of_part, files in zip(
            stored(pictures, Source(store, path, image_size), where=where), labels, pictures, strict=True
        )
    ]


def split_in_two(
    pictures: PictureFiles,
    labels: Labels,
    path: Path,
    image_size: tuple[int, int] | None,
    store: Path | None,
    *,
    where: str,
) -> list[Split]:
    """The training and the test split of pictures that come without one; see `split_by_key`. Raises as `splits_of`."""
    if store is None:
        [whole] = splits_of([(pictures, labels)], path, image_size, None, where=where)
        return list(split_by_key(whole.images.numpy(), labels, pictures, where=where))
    keys = stored_keys(pictures, Source(store, path, image_size), where=where)
    parts = [
        (PictureFiles([pictures.paths[row] for row in rows]), labels[list(rows)])
        for rows in rows_by_key(keys, where=where)
    ]
    return splits_of(parts, path, image_size, store, where=where)
