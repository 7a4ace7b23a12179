"""Splits of the user's own image files: mapped from a store, or decoded into memory where there is none."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from distill_worker.data.datasets.dataset import Split
from distill_worker.data.datasets.opening import Opening
from distill_worker.data.datasets.split_by_key import rows_by_key, split_by_key
from distill_worker.data.pictures.conversion import OpenPicture
from distill_worker.data.pictures.places import Source
from distill_worker.data.pictures.reading import (
    Picture,
    PictureFiles,
    common_shape,
    joined,
    read_each,
    read_in_parts,
)
from distill_worker.data.pictures.store import stored, stored_keys, unreadable
from distill_worker.errors import DataError, PicturesUnread, counted

Labels = NDArray[np.int64]
Part = tuple[PictureFiles, Labels | None]
"""Image files, and their labels if they have any."""
_SHOWN: Final = 5
"""Files that a note names."""


def splits_of(parts: Sequence[Part], opening: Opening, *, where: str) -> list[Split]:
    """The splits of these parts, each with its labels if it has any.

    Args:
        parts: image files, and integers `[files]`. All can be read: see `readable`.
        opening: how they are opened.
        where: the start of messages.

    Raises:
        DataError: names the files that cannot be read, or says why the store cannot be used.
    """
    pictures = [of_part for of_part, _ in parts]
    labels = [None if of_part is None else torch.from_numpy(of_part) for _, of_part in parts]
    with _hint_at_skipping():
        if opening.store is None:
            shape = common_shape(joined(pictures), opening.image_size, where=where)
            read = read_in_parts(pictures, shape, where=where)
            return [
                Split(torch.from_numpy(images), of_part, files)
                for images, of_part, files in zip(read, labels, pictures, strict=True)
            ]
        of_store = stored(pictures, _source(opening), where=where)
        return [
            Split(one.images, of_part, files, one.part)
            for one, of_part, files in zip(of_store, labels, pictures, strict=True)
        ]


def split_in_two(pictures: PictureFiles, labels: Labels, opening: Opening, *, where: str) -> list[Split]:
    """The training and the test split of pictures that come without one; see `split_by_key`. Raises as `splits_of`."""
    if opening.store is None:
        [whole] = splits_of([(pictures, labels)], opening, where=where)
        return list(split_by_key(whole.images.numpy(), labels, pictures, where=where))
    with _hint_at_skipping():
        keys = stored_keys(pictures, _source(opening), where=where)
    parts = [_rows(pictures, labels, rows) for rows in rows_by_key(keys, where=where)]
    return splits_of(parts, opening, where=where)


def readable(parts: Sequence[Part], opening: Opening, *, where: str) -> tuple[list[Part], tuple[str, ...]]:
    """The parts without the files that cannot be read, if these are to be skipped; and a note about them, if any are.

    Raises:
        DataError: no file of a part can be read; or as `splits_of`.
    """
    if opening.unreadable == "error":
        return list(parts), ()
    pictures = PictureFiles([path for of_part, _ in parts for path in of_part.paths], opening.rules)
    faults = _faults(pictures, opening, where)
    if not faults:
        return list(parts), ()
    kept = [
        _rows(of_part, labels, [row for row, path in enumerate(of_part.paths) if path not in faults])
        for of_part, labels in parts
    ]
    listed = "; ".join(list(faults.values())[:_SHOWN]) + ("; and others" if len(faults) > _SHOWN else "")
    note = f"{where}: skipped {counted(len(faults), 'file')} of {len(pictures):,} that cannot be read: {listed}"
    if not all(len(of_part) for of_part, _ in kept):
        raise DataError(f"{note}; expected files that can be read in training and in test, if there is one")
    return kept, (note,)


@contextmanager
def _hint_at_skipping() -> Iterator[None]:
    """Name the setting that leaves out files that cannot be read, in the error about them."""
    try:
        yield
    except PicturesUnread as error:
        raise DataError(f'{error}; or set data.unreadable = "skip", which leaves such files out') from error


def _faults(pictures: PictureFiles, opening: Opening, where: str) -> dict[str, str]:
    """Why each file that cannot be read cannot, by its path."""
    if opening.store is not None:
        return unreadable(pictures, _source(opening), where=where)
    faults: dict[str, str] = {}

    def add(picture: Picture, reason: str) -> None:
        faults[str(picture.path)] = reason

    for _ in read_each(pictures, OpenPicture.check, where, add):
        pass
    return faults


def _rows(pictures: PictureFiles, labels: Labels | None, rows: Sequence[int]) -> Part:
    chosen = PictureFiles([pictures.paths[row] for row in rows], pictures.rules)
    return chosen, None if labels is None else labels[list(rows)]


def _source(opening: Opening) -> Source:
    if opening.store is None:
        raise ValueError("expected a folder of stores, got none")
    return Source(opening.store, opening.path, opening.image_size, opening.rules)
