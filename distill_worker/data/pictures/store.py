"""The store of a user's image files: decoded once, then mapped.

    decoded/photos-1f0a9c3e5b7d2468/    the pictures of one folder or list, in one size
        index.sqlite                    the files, their rows, and the sample keys
        pixels-1.u8                     uint8 `[pictures, channels, height, width]`, in the order of the data set
        lock                            held by the process that decodes

A file whose size and time of change are those of the index is not read again. Other files are decoded and appended; if
the rows are then in another order than the data set, they are copied into a new file in that order.

Invariant: at any instant, the index names only rows that are on disk. A process that maps an older file of pixels keeps
it, though its name is gone.
"""

import fcntl
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from distill_worker.data.digest import digest
from distill_worker.data.pictures.display import DISPLAY
from distill_worker.data.pictures.index import Entry, Index, Snapshot, State
from distill_worker.data.pictures.reading import (
    OnFault,
    Picture,
    PictureFiles,
    Shape,
    converted,
    head_of,
    pixels_of,
    read_each,
    shape_of,
)
from distill_worker.errors import DataError
from shared.sample_key import sample_key

RULES: Final = 1
"""The version of the rules that make pixels of a file; a store of other rules is another store."""
INDEX: Final = "index.sqlite"
ABOUT: Final = "about.json"
"""The files of a store."""
_COMMIT_BYTES: Final = 1 << 26
"""Pixels that are decoded between two commits: a process that is killed loses no more."""
_COPY_BYTES: Final = 1 << 24
_ATTEMPTS: Final = 5
_NO_HEAD: Final = (0, 0, 0)
_SPARE_BYTES: Final = 1 << 26
"""Of the disk, for the index."""


class Source(NamedTuple):
    """What a store is of."""

    stores: Path
    """The folder of all stores."""
    data: Path
    """The folder or list of the pictures."""
    image_size: tuple[int, int] | None
    """Height and width."""


@dataclass(frozen=True)
class StoredPart:
    """What is known of the pixels of a part of a data set, so that a command need not read them all."""

    keys: list[bytes]
    """The sample key of each picture."""
    sums: NDArray[np.int64]
    """`[2, channels]`: the sums of all values and of their squares."""
    store: Path
    generation: int
    first: int

    def digest(self, images: Tensor) -> str:
        """The digest of the part's pixels, which are read once where the store is. Raises `DataError`."""
        if not (self.store / INDEX).exists():
            return digest(images)  # on another machine, or of a store that was deleted meanwhile
        with reported(self.store), Index(self.store / INDEX) as index:
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
    store = _Store(source, [path for part in parts for path in part.paths], where)
    with reported(store.folder):
        for _ in range(_ATTEMPTS):
            snapshot = store.up_to_date(in_order=True)
            with suppress(FileNotFoundError):  # another process has put the rows in another order meanwhile
                return list(_split(parts, store, snapshot))
        raise DataError(f"{where}: expected a store that stays as it is, got one that other commands change; try again")


def stored_keys(pictures: PictureFiles, source: Source, *, where: str) -> list[bytes]:
    """The sample keys of pictures, which are decoded first, if they are new or have changed; see `stored`."""
    store = _Store(source, pictures.paths, where)
    with reported(store.folder):
        entries = store.up_to_date(in_order=False).entries
        keys = [entries[path].key for path in pictures.paths]
        return [key for key in keys if key is not None]


def unreadable(pictures: PictureFiles, source: Source, *, where: str) -> dict[str, str]:
    """The paths of the pictures that cannot be read, each with the reason; the others are decoded. See `stored`."""
    store = _Store(source, pictures.paths, where, skips=True)
    with reported(store.folder):
        entries = store.up_to_date(in_order=False).entries
        return {path: fault for path in pictures.paths if (fault := entries[path].fault) is not None}


def _folder_of(source: Source) -> Path:
    data = source.data.absolute()
    text = json.dumps({"data": str(data), "image_size": source.image_size, "rules": RULES}, sort_keys=True)
    name = sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    folder = source.stores / f"{data.name}-{name}"
    with reported(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ABOUT).exists():
            (folder / ABOUT).write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
    return folder


class Decoded(NamedTuple):
    """The pixels of one picture, and what the index keeps of them."""

    values: NDArray[np.uint8]
    key: bytes
    sums: bytes


class _Store:
    """One store, for the pictures of one data set."""

    def __init__(self, source: Source, paths: Sequence[str], where: str, *, skips: bool = False) -> None:
        """Pictures that cannot be read are an error, unless they are skipped."""
        self._skips = skips
        self.folder = _folder_of(source)
        self._paths = list(dict.fromkeys(paths))  # a list may name a file twice
        self._image_size = source.image_size
        self._where = where

    def up_to_date(self, *, in_order: bool) -> Snapshot:
        """What the index holds once all pictures are decoded; if `in_order`, in the order of the data set."""
        with Index(self.folder / INDEX) as index:
            snapshot = index.snapshot()
            if not self._is_complete(snapshot, in_order):
                with lock(self.folder):
                    snapshot = self._completed(index, in_order)
            return snapshot

    def _shape(self, snapshot: Snapshot) -> Shape:
        kinds = dict[tuple[int, ...], str]()  # most data have few, so that few heads are looked at
        for path in self._readable(snapshot):
            kinds.setdefault(snapshot.entries[path][3:6], path)
        of_pictures = [snapshot.entries[path].head for path in kinds.values()]
        return shape_of(PictureFiles([*kinds.values()]), of_pictures, self._image_size, where=self._where)

    def _stale(self, snapshot: Snapshot) -> list[State]:
        """The files that the index lacks, or has with another size or time of change. Raises `DataError`."""
        stale, gone, entries = list[State](), list[str](), snapshot.entries
        for path in self._paths:
            try:
                status = os.stat(path)  # noqa: PTH116 - of hundreds of thousands, a Path each takes seconds
            except OSError as error:
                gone.append(f"{path} ({error.strerror})")
                continue
            entry = entries.get(path)
            is_same = entry is not None and (entry.size, entry.changed) == (status.st_size, status.st_mtime_ns)
            if not is_same or (entry is not None and entry.fault is not None and not self._skips):
                stale.append(State(path, status.st_size, status.st_mtime_ns))
        if gone:
            raise DataError(
                f"{self._where}: expected files that can be read, got {', '.join(gone[:5])}; replace or remove them"
            )
        return stale

    def _is_complete(self, snapshot: Snapshot, in_order: bool) -> bool:
        return (
            not self._stale(snapshot)
            and self._shape(snapshot) == snapshot.shape
            and self._is_whole(snapshot)
            and not self._missing(snapshot)
            and (self._is_in_order(snapshot) or not in_order)
        )

    def _is_whole(self, snapshot: Snapshot) -> bool:
        """Whether the file of pixels has all rows of the index. A user may have deleted it."""
        path = pixels_file(self.folder, snapshot.generation)
        if snapshot.shape is None or snapshot.rows == 0:
            return True
        return path.exists() and path.stat().st_size >= snapshot.rows * _row_bytes(snapshot.shape)

    def _missing(self, snapshot: Snapshot) -> list[Entry]:
        return [entry for path in self._readable(snapshot) if (entry := snapshot.entries[path]).row is None]

    def _is_in_order(self, snapshot: Snapshot) -> bool:
        return [snapshot.entries[path].row for path in self._paths] == list(range(len(self._paths)))

    def _readable(self, snapshot: Snapshot) -> list[str]:
        return [path for path in self._paths if snapshot.entries[path].fault is None]

    def _completed(self, index: Index, in_order: bool) -> Snapshot:
        snapshot = index.snapshot()
        while not self._is_complete(snapshot, in_order=False):  # a picture that is skipped may change the shape
            self._advance(index, snapshot)
            snapshot = index.snapshot()
        if in_order and not self._is_in_order(snapshot):
            self._rearrange(index, snapshot, self._shape(snapshot))
            snapshot = index.snapshot()
        for path in self.folder.glob("pixels-*.u8"):
            if path != pixels_file(self.folder, snapshot.generation):
                path.unlink(missing_ok=True)
        return snapshot

    def _advance(self, index: Index, snapshot: Snapshot) -> None:
        """Do what is next: look at files, begin another file of pixels, or decode what it lacks."""
        if stale := self._stale(snapshot):
            index.add(self._with_heads(stale))
            return
        shape = self._shape(snapshot)
        if shape != snapshot.shape or not self._is_whole(snapshot):
            index.reshape(shape, snapshot.generation + 1)
        else:
            self._decode(self._missing(snapshot), index, snapshot, shape)

    def _with_heads(self, states: Sequence[State]) -> list[Entry]:
        state_of = {state.name: state for state in states}
        pictures = PictureFiles([*state_of])
        entries: list[Entry] = []

        def skipped(picture: Picture, reason: str) -> None:
            entries.append(Entry(*state_of[str(picture.path)], *_NO_HEAD, fault=reason))

        on_fault = skipped if self._skips else None
        with DISPLAY.get().bar("looking at images", len(states)) as move:
            for picture, head in read_each(pictures, head_of, self._where, on_fault):
                entries.append(Entry(*state_of[str(picture.path)], int(head.is_grey), *head.size))
                move(len(entries))
        return entries

    def _decode(self, missing: Sequence[Entry], index: Index, snapshot: Snapshot, shape: Shape) -> None:
        """Decode the pictures of these entries, and append their pixels; those that were done stay after an error."""
        row_bytes, entries = _row_bytes(shape), {entry.name: entry for entry in missing}
        _check_space(self.folder, len(missing) * row_bytes)
        pictures = PictureFiles([*entries])
        waiting, began = list[Entry](), time.monotonic()
        with (
            pixels_file(self.folder, snapshot.generation).open("ab") as file,
            DISPLAY.get().bar("decoding images", len(missing)) as move,
        ):
            file.truncate(snapshot.rows * row_bytes)

            def commit() -> None:
                file.flush()
                os.fsync(file.fileno())
                index.add(waiting)
                waiting.clear()

            def skipped(picture: Picture, reason: str) -> None:
                index.add([Entry(*entries[str(picture.path)].state, *_NO_HEAD, fault=reason)])

            try:
                for done, (picture, decoded) in enumerate(
                    decoded_pictures(pictures, shape, where=self._where, on_fault=skipped if self._skips else None)
                ):
                    file.write(decoded.values.data)
                    entry = entries[str(picture.path)]
                    waiting.append(entry._replace(row=snapshot.rows + done, key=decoded.key, sums=decoded.sums))
                    move(done + 1)
                    if len(waiting) * row_bytes >= _COMMIT_BYTES:
                        commit()
            finally:
                commit()
        seconds = time.monotonic() - began
        DISPLAY.get().say(
            f"{self._where}: decoded {len(missing):,} images in {seconds:.0f} s "
            f"({len(missing) / seconds:,.0f} images/s); they are kept in {self.folder}"
        )

    def _rearrange(self, index: Index, snapshot: Snapshot, shape: Shape) -> None:
        """Copy the rows into a new file: first those of the data set in its order, then those of other files."""
        row_bytes = _row_bytes(shape)
        rows = {name: one.row for name, one in snapshot.entries.items() if one.row is not None}
        others = set(rows).difference(self._paths)
        if gone := [name for name in others if not Path(name).exists()]:
            index.remove(gone)
        names = [*self._paths, *sorted(others.difference(gone), key=rows.__getitem__)]
        _check_space(self.folder, len(names) * row_bytes)
        new = pixels_file(self.folder, snapshot.generation + 1)
        with (
            pixels_file(self.folder, snapshot.generation).open("rb") as old,
            new.open("wb") as file,
            DISPLAY.get().bar("putting images in order", len(names)) as move,
        ):
            done = 0
            for first, count in _runs([rows[name] for name in names], max(1, _COPY_BYTES // row_bytes)):
                old.seek(first * row_bytes)
                file.write(old.read(count * row_bytes))
                done += count
                move(done)
            file.flush()
            os.fsync(file.fileno())
        index.rearrange(names, snapshot.generation + 1)


def pixels_file(store: Path, generation: int) -> Path:
    """The file of pixels with this number."""
    return store / f"pixels-{generation}.u8"


@contextmanager
def lock(store: Path, *, waits: bool = True) -> Iterator[bool]:
    """Hold the lock of a store while the block runs; yields whether it is held, which it is not if another process has
    it and this one does not wait. Raises `OSError`.
    """
    with (store / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waits:
                yield False
                return
            with DISPLAY.get().bar("waiting for the process that decodes these images", 1) as move:
                move(0)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield True


def decoded_pictures(
    pictures: Sequence[Picture], shape: Shape, *, where: str, on_fault: OnFault | None = None
) -> Iterator[tuple[Picture, Decoded]]:
    """Each picture with its pixels; for those that cannot be read, see `read_each`."""
    return read_each(pictures, lambda image: _decoded(image, shape), where, on_fault)


def _split(parts: Sequence[PictureFiles], store: _Store, snapshot: Snapshot) -> Iterator[Stored]:
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
            sums.reshape(len(entries), 2, -1).sum(axis=0),
            store.folder,
            snapshot.generation,
            rows[0],
        )
        yield Stored(mapped[rows[0] : rows[0] + len(rows)] if is_slice else mapped[torch.tensor(rows)], known)


def _decoded(image: Image.Image, shape: Shape) -> Decoded:
    image = converted(image, shape)
    values = np.ascontiguousarray(pixels_of(image))
    counts = np.array(image.histogram(), np.int64).reshape(-1, 256)
    levels = np.arange(256, dtype=np.int64)
    sums = np.stack([counts @ levels, counts @ levels**2])
    return Decoded(values, sample_key(values), sums.tobytes())


def _row_bytes(shape: Shape) -> int:
    return shape.channels * shape.height * shape.width


def _runs(rows: Sequence[int], longest: int) -> Iterator[tuple[int, int]]:
    """The first row and the length of each run of consecutive rows, in their order; none longer than `longest`."""
    first, count = rows[0], 1
    for row in rows[1:]:
        if row == first + count and count < longest:
            count += 1
        else:
            yield first, count
            first, count = row, 1
    yield first, count


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise DataError(
            f"data.store: expected {(needed + _SPARE_BYTES) / 1e9:.1f} GB of free space for the decoded images in "
            f"{folder}, got {free / 1e9:.1f} GB; free some, or set data.store to a folder on another disk, or set a "
            "smaller data.image_size"
        )


@contextmanager
def reported(folder: Path) -> Iterator[None]:
    """Errors of the disk or the index as `DataError`."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise DataError(
            f"data.store: {folder} cannot be used ({error}); what was decoded stays. Free space, allow this user to "
            "write there, or set data.store to another folder; if the store is damaged, delete it: it is made again"
        ) from error
