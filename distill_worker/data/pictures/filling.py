"""Filling a store: files are looked at, decoded and appended, and their rows put in order.

Invariant: at any instant, the index names only rows that are on disk. A process that maps an older file of pixels keeps
it, though its name is gone.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill_worker.data.pictures.conversion import OpenPicture, Shape, pixels_of
from distill_worker.data.pictures.display import DISPLAY
from distill_worker.data.pictures.index import Entry, Index, Snapshot, State
from distill_worker.data.pictures.places import Source, check_space, folder_of, lock, pixels_file, stale_files
from distill_worker.data.pictures.reading import (
    OnFault,
    Picture,
    PictureFiles,
    both_looks,
    first_key,
    first_shape,
    read_each,
    shape_of,
)
from distill_worker.data.pictures.rules import EXTENSIONS, FIRST
from distill_worker.errors import DataError
from shared.sample_key import sample_key

_COMMIT_BYTES: Final = 1 << 26
"""Pixels that are decoded between two commits: a process that is killed loses no more."""
_COPY_BYTES: Final = 1 << 24
_NO_HEAD: Final = (0, 0, 0)


class Decoded(NamedTuple):
    """The pixels of one picture, and what the index keeps of them."""

    values: NDArray[np.uint8]
    key: bytes
    sums: bytes
    first_key: bytes | None
    """The sample key by the first rules, if these give others."""


class Filling:
    """One store, for the pictures of one data set."""

    def __init__(self, source: Source, paths: Sequence[str], where: str, *, skips: bool = False) -> None:
        """Pictures that cannot be read are an error, unless they are skipped."""
        self._skips = skips
        self.folder = folder_of(source)
        self._paths = list(dict.fromkeys(paths))  # a list may name a file twice
        self._image_size = source.image_size
        self._rules = source.rules
        self._where = where

    def up_to_date(self, *, in_order: bool) -> Snapshot:
        """What the index holds once all pictures are decoded; if `in_order`, in the order of the data set."""
        with Index(self.folder) as index:
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
        return shape_of(PictureFiles([*kinds.values()], self._rules), of_pictures, self._image_size, where=self._where)

    def _first_shape(self, snapshot: Snapshot) -> Shape | None:
        """The shape by the first rules, if any pictures have another one or other pixels by these."""
        entries = [snapshot.entries[path] for path in self._readable(snapshot)]
        if self._rules == FIRST:
            return None
        by_first = [entry for entry in entries if _extension(entry.name) in EXTENSIONS[FIRST]]
        return first_shape([entry.head for entry in by_first], [entry.first for entry in by_first], self._image_size)

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
            and self._has_all_rows(snapshot)
            and not self._missing(snapshot)
            and (self._is_in_order(snapshot) or not in_order)
        )

    def _has_all_rows(self, snapshot: Snapshot) -> bool:
        shape = snapshot.shape
        return shape is None or snapshot.rows == 0 or self.is_whole(snapshot.generation, snapshot.rows, shape)

    def is_whole(self, generation: int, rows: int, shape: Shape) -> bool:
        """Whether the file of pixels has all rows of the index. A user may have deleted it."""
        try:
            return pixels_file(self.folder, generation).stat().st_size >= rows * shape.bytes
        except FileNotFoundError:  # also where another process has just put the rows in another order
            return False

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
        for path in stale_files(self.folder, snapshot.generation):
            path.unlink(missing_ok=True)
        return snapshot

    def _advance(self, index: Index, snapshot: Snapshot) -> None:
        """Do what is next: look at files, begin another file of pixels, or decode what it lacks."""
        if stale := self._stale(snapshot):
            index.add(self._with_heads(stale))
            return
        shape = self._shape(snapshot)
        if shape != snapshot.shape or not self._has_all_rows(snapshot):
            index.reshape(shape, snapshot.generation + 1)
        else:
            self._decode(self._missing(snapshot), index, snapshot, shape)

    def _with_heads(self, states: Sequence[State]) -> list[Entry]:
        state_of = {state.name: state for state in states}
        pictures = PictureFiles([*state_of], self._rules)
        entries: list[Entry] = []

        def skipped(picture: Picture, reason: str) -> None:
            entries.append(Entry(*state_of[str(picture.path)], *_NO_HEAD, fault=reason))

        on_fault = skipped if self._skips else None
        with DISPLAY.get().bar("looking at images", len(states)) as move:
            for picture, (head, first) in read_each(pictures, both_looks, self._where, on_fault):
                entry = Entry(*state_of[str(picture.path)], int(head.is_grey), *head.size)
                entries.append(entry._replace(first=first))
                move(len(entries))
        return entries

    def _decode(self, missing: Sequence[Entry], index: Index, snapshot: Snapshot, shape: Shape) -> None:
        """Decode the pictures of these entries, and append their pixels; those that were done stay after an error."""
        row_bytes, entries = shape.bytes, {entry.name: entry for entry in missing}
        check_space(self.folder, len(missing) * row_bytes)
        pictures = PictureFiles([*entries], self._rules)
        first_shape = self._first_shape(snapshot)
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
                    decoded_pictures(
                        pictures, shape, first_shape, where=self._where, on_fault=skipped if self._skips else None
                    )
                ):
                    file.write(decoded.values.data)
                    entry = entries[str(picture.path)]
                    row, (_, key, sums, first) = snapshot.rows + done, decoded
                    waiting.append(entry._replace(row=row, key=key, sums=sums, first_key=first))
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
        row_bytes = shape.bytes
        rows = {name: one.row for name, one in snapshot.entries.items() if one.row is not None}
        others = set(rows).difference(self._paths)
        if gone := [name for name in others if not Path(name).exists()]:
            index.remove(gone)
        names = [*self._paths, *sorted(others.difference(gone), key=rows.__getitem__)]
        check_space(self.folder, len(names) * row_bytes)
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


def decoded_pictures(
    pictures: Sequence[Picture],
    shape: Shape,
    first_shape: Shape | None = None,
    *,
    where: str,
    on_fault: OnFault | None = None,
) -> Iterator[tuple[Picture, Decoded]]:
    """Each picture with its pixels, and with its key by the first rules in their shape, if that is given and differs.

    For pictures that cannot be read, see `read_each`.
    """
    return read_each(pictures, lambda picture: _decoded(picture, shape, first_shape), where, on_fault)


def _decoded(picture: OpenPicture, shape: Shape, by_first: Shape | None) -> Decoded:
    image = picture.converted(shape)
    values = np.ascontiguousarray(pixels_of(image))
    key = sample_key(values)
    counts = np.array(image.histogram(), np.int64).reshape(-1, 256)
    levels = np.arange(256, dtype=np.int64)
    sums = np.stack([counts @ levels, counts @ levels**2])
    first = None
    if by_first is not None and (by_first != shape or picture.first_look() is not None):
        first = first_key(picture, by_first)
    return Decoded(values, key, sums.tobytes(), None if first == key else first)


def _extension(name: str) -> str:
    return f".{name.rpartition('.')[2].lower()}"


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
