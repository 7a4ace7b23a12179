"""The store of a user's image files: decoded once, then mapped.

A file whose size and time of change are those of the index is not read again. Other files are decoded and appended; if
the rows are then in another order than the data set, they are copied into a new file in that order. What is known of a
data set is kept in one piece, too: if no file has changed since, the entries of its files are not read.
"""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill_worker.data.digest import digest
from distill_worker.data.pictures.display import DISPLAY
from distill_worker.data.pictures.filling import Filling
from distill_worker.data.pictures.index import Index, KnownPart, KnownParts, Snapshot
from distill_worker.data.pictures.places import INDEX, Source, array_file, pixels_file, reported
from distill_worker.data.pictures.reading import PictureFiles
from distill_worker.errors import DataError
from shared.atomic_file import atomic_replacement
from shared.sample_key import KEY_BYTES

BATCH_SIZE: Final = 100
"""Pictures that are read at once to compute an array."""
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
    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    is_slice: bool
    """Whether its rows are the next ones of the first: the part names no file twice."""

    def digest(self, images: Tensor) -> str:
        """The digest of the part's pixels, which are read once where the store is. Raises `DataError`."""
        if not self.is_slice or not (self.store / INDEX).exists():
            return digest(images)  # or it is on another machine, or of a store that was deleted meanwhile
        with reported(self.store), Index(self.store) as index:
            place = (self.generation, self.first, len(self.keys))
            known = index.digest(*place)
            if known is None:
                known = digest(images)
                index.keep_digest(*place, known)
            return known

    def kept(self, name: str, compute: Callable[[Iterable[Tensor]], NDArray[np.float32]]) -> NDArray[np.float32]:
        """An array of the part's pictures, one row each, which is computed once where the store is.

        Args:
            name: of the array.
            compute: from batches of the pictures, uint8 `[batch, channels, height, width]`, in order.

        Raises:
            DataError: the store cannot be used.
        """
        path = array_file(self.store, name, (self.generation, self.first, len(self.keys)))
        with reported(self.store):
            with suppress(FileNotFoundError, ValueError, EOFError):  # absent, or cut off
                known: NDArray[np.float32] | None = np.load(path, mmap_mode="r") if self.is_slice else None
                if known is not None:
                    return known
            array = compute(self._read(f"computing {name}"))
            if self.is_slice and self.store.exists():
                own = path.with_suffix(f".{os.getpid()}")  # another process may write the same at once
                with atomic_replacement(path, partial=own) as partial, partial.open("wb") as file:
                    np.save(file, array)
            return array

    def _read(self, title: str) -> Iterator[Tensor]:
        """Batches of the pictures. They are read: pages of a map would count as memory of this process."""
        size, count = prod(self.image_shape), len(self.keys)
        pixels = pixels_file(self.store, self.generation)
        with pixels.open("rb") as file, DISPLAY.get().bar(title, count) as move:
            file.seek(self.first * size)
            for start in range(0, count, BATCH_SIZE):
                batch = torch.from_numpy(np.fromfile(file, np.uint8, min(BATCH_SIZE, count - start) * size))
                yield batch.view(-1, *self.image_shape)
                move(start + len(batch) // size)


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
    with reported(store.folder), Index(store.folder) as index:
        for _ in range(_ATTEMPTS):
            listing = _listing(parts)
            known = None if listing is None else index.known_parts(listing)
            if known is None or not store.is_whole(known.generation, known.rows, known.shape):
                known = _parts_of(parts, store.up_to_date(in_order=True))
                if listing is not None and listing == _listing(parts):
                    index.keep_parts(listing, known)
            with suppress(FileNotFoundError):  # another process has put the rows in another order meanwhile
                return [_mapped(part, known, store.folder) for part in known.parts]
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


def _listing(parts: Sequence[PictureFiles]) -> str | None:
    """A digest of the files of each part as their folders list them; None if one is gone."""
    digest = sha256()
    for part in parts:
        states = array("q", [len(part)])
        try:
            for path in part.paths:
                status = os.stat(path)  # noqa: PTH116 - of hundreds of thousands, a Path each takes seconds
                states.append(status.st_size)
                states.append(status.st_mtime_ns)
        except OSError:
            return None  # filling the store says which
        digest.update(states.tobytes())
        digest.update("\0".join(part.paths).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _parts_of(parts: Sequence[PictureFiles], snapshot: Snapshot) -> KnownParts:
    assert snapshot.shape is not None
    known = []
    for part in parts:
        entries = [snapshot.entries[path] for path in part.paths]
        sums = np.frombuffer(b"".join(entry.sums or b"" for entry in entries), np.int64)
        known.append(
            KnownPart(
                np.array([entry.row for entry in entries], np.int64).tobytes(),
                b"".join(entry.key or b"" for entry in entries),
                b"".join(entry.key + entry.first_key for entry in entries if entry.key and entry.first_key),
                sums.reshape(len(entries), -1).sum(axis=0).tobytes(),
            )
        )
    return KnownParts(snapshot.generation, snapshot.rows, snapshot.shape, known)


def _mapped(part: KnownPart, parts: KnownParts, store: Path) -> Stored:
    shape = (parts.rows, parts.shape.channels, parts.shape.height, parts.shape.width)
    # Copy on write: PyTorch wants memory that it may write to. Nothing does.
    mapped = torch.from_numpy(np.memmap(pixels_file(store, parts.generation), np.uint8, mode="c", shape=shape))
    rows = np.frombuffer(part.rows, np.int64)
    first, count = int(rows[0]), len(rows)
    is_slice = np.array_equal(rows, np.arange(first, first + count))  # else the part names a file twice
    keys = _pieces(part.keys)
    known = StoredPart(
        keys,
        dict(zip(*[iter(_pieces(part.first_keys))] * 2, strict=True)),
        np.array(np.frombuffer(part.sums, np.int64)).reshape(2, -1),
        store,
        parts.generation,
        first,
        shape[1:],
        is_slice,
    )
    return Stored(mapped[first : first + count] if is_slice else mapped[torch.from_numpy(rows.copy())], known)


def _pieces(joined: bytes) -> list[bytes]:
    """The sample keys that were joined."""
    return [joined[start : start + KEY_BYTES] for start in range(0, len(joined), KEY_BYTES)]
