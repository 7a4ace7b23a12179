"""The store of a user's image files: decoded once, then mapped.

A file whose size and time of change are those of the index is not read again. Other files are decoded and appended; if
the rows are then in another order than the data set, they are copied into a new file in that order.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill_worker.data.digest import digest
from distill_worker.data.pictures.filling import Filling
from distill_worker.data.pictures.index import Index, Snapshot
from distill_worker.data.pictures.places import INDEX, Source, pixels_file, reported
from distill_worker.data.pictures.reading import PictureFiles
from distill_worker.errors import DataError

_ATTEMPTS: Final = 100
"""Times that other processes may put the rows in another order before this one maps them."""


@dataclass(frozen=True)
class StoredPart:
    """What is known of the pixels of a part of a data set, so that a command need not read them all."""

    keys: list[bytes]
    """The sample key of each picture."""
    first_keys: dict[bytes, bytes]
    """The sample keys by the first rules of those pictures that these read differently, by their own keys."""
    sums: NDArray[np.int64]
    """`[2, channels]`: the sums of all values and of their squares."""
    store: Path
    generation: int
    first: int

    def digest(self, images: Tensor) -> str:
        """The digest of the part's pixels, which are read once where the store is. Raises `DataError`."""
        if not (self.store / INDEX).exists():
            return digest(images)  # on another machine, or of a store that was deleted meanwhile
        with reported(self.store), Index(self.store) as index:
            place = (self.generation, self.first, len(self.keys))
            known = index.digest(*place)
            if known is None:
                known = digest(images)
                index.keep_digest(*place, known)
            return known


class Stored(NamedTuple):
    """The pictures of a part."""

    images: Tensor
    """uint8 `[pictures, channels, height, width]`, mapped: a page is read when it is used."""
    part: StoredPart


def stored(parts: Sequence[PictureFiles], source: Source, *, where: str) -> list[Stored]:
    """The pictures of each part, from the store, in which those are decoded first that are new or have changed.

    Args:
        parts: at least one, none empty.
        source: what the store is of.
        where: the start of messages.

    Raises:
        DataError: names the pictures that cannot be read, or says why the store cannot be used.
    """
    store = Filling(source, [path for part in parts for path in part.paths], where)
    with reported(store.folder):
        for _ in range(_ATTEMPTS):
            snapshot = store.up_to_date(in_order=True)
            with suppress(FileNotFoundError):  # another process has put the rows in another order meanwhile
                return list(_split(parts, store, snapshot))
        raise DataError(f"{where}: expected a store that stays as it is, got one that other commands change; try again")


def stored_keys(pictures: PictureFiles, source: Source, *, where: str) -> list[bytes]:
    """The sample keys of pictures, which are decoded first, if they are new or have changed; see `stored`."""
    store = Filling(source, pictures.paths, where)
    with reported(store.folder):
        entries = store.up_to_date(in_order=False).entries
        keys = [entries[path].key for path in pictures.paths]
        return [key for key in keys if key is not None]


def unreadable(pictures: PictureFiles, source: Source, *, where: str) -> dict[str, str]:
    """The paths of the pictures that cannot be read, each with the reason; the others are decoded. See `stored`."""
    store = Filling(source, pictures.paths, where, skips=True)
    with reported(store.folder):
        entries = store.up_to_date(in_order=False).entries
        return {path: fault for path in pictures.paths if (fault := entries[path].fault) is not None}


def _split(parts: Sequence[PictureFiles], store: Filling, snapshot: Snapshot) -> Iterator[Stored]:
    assert snapshot.shape is not None
    shape = (snapshot.rows, snapshot.shape.channels, snapshot.shape.height, snapshot.shape.width)
    # Copy on write: PyTorch wants memory that it may write to. Nothing does.
    mapped = torch.from_numpy(
        np.memmap(pixels_file(store.folder, snapshot.generation), np.uint8, mode="c", shape=shape)
    )
    for part in parts:
        entries = [snapshot.entries[path] for path in part.paths]
        rows = [entry.row for entry in entries if entry.row is not None]
        is_slice = rows == list(range(rows[0], rows[0] + len(rows)))  # else the part names a file twice
        sums = np.frombuffer(b"".join(entry.sums or b"" for entry in entries), np.int64)
        known = StoredPart(
            [entry.key for entry in entries if entry.key is not None],
            {entry.key: entry.before for entry in entries if entry.key is not None and entry.before is not None},
            sums.reshape(len(entries), 2, -1).sum(axis=0),
            store.folder,
            snapshot.generation,
            rows[0],
        )
        yield Stored(mapped[rows[0] : rows[0] + len(rows)] if is_slice else mapped[torch.tensor(rows)], known)
