"""Opening an .npz file, without ever unpickling anything, and writing one that is mapped when it is opened.

A file of the user's may be replaced while it is read, so that its arrays are read into memory. A file that
`save_arrays` wrote never changes: its images are mapped, and take no memory of their own.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.lib import format as npy
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from distill_worker.data.datasets.arrays import Scale, images_from, labels_from
from distill_worker.data.datasets.dataset import Split, split_of
from distill_worker.errors import DataError

_UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_NEVER_CHANGES: Final = b"tuition: never changes"
"""The comment of an archive whose images are mapped."""
_LENGTHS: Final = Struct("<26xHH")
"""The head of a file in an archive; it ends with the lengths of the name and of the extra field, which follow."""


class Arrays:
    """The arrays of an open .npz file; each is read when it is accessed."""

    def __init__(self, archive: NpzFile, where: str, file: Path) -> None:
        self._archive: Mapping[str, NDArray[Any]] = archive
        self._zip, self._file = archive.zip, file
        self._where = where
        self._scales: dict[str, Scale] = {}
        self._floating: set[str] = set()
        self.names = tuple(archive)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.names:
            raise DataError(f"{self._where}: expected an array {name!r}, got {', '.join(self.names) or 'nothing'}")
        try:
            mapped = self._mapped(name)
            return self._archive[name] if mapped is None else mapped
        except _UNREADABLE as error:
            raise DataError(
                f"{self._where}: cannot read the array {name!r} ({error}); create the file again"
            ) from error

    def _mapped(self, name: str) -> NDArray[np.uint8] | None:
        """Images, mapped from a file that never changes; None for any other array."""
        if self._zip is None or self._zip.comment != _NEVER_CHANGES:
            return None
        entry = self._zip.getinfo(f"{name}.npy")
        if entry.compress_type != zipfile.ZIP_STORED:
            return None
        with self._file.open("rb") as file:
            file.seek(entry.header_offset)
            name_bytes, extra_bytes = _LENGTHS.unpack(file.read(_LENGTHS.size))
            file.seek(name_bytes + extra_bytes, 1)
            shape, is_transposed, dtype = _head(file)
            if dtype != np.uint8 or is_transposed or 0 in shape:
                return None
            return np.memmap(self._file, np.uint8, "c", file.tell(), shape)

    def images(self, name: str) -> NDArray[np.uint8]:
        """As canonical pixels.

        Raises:
            DataError: not clearly images, or on another scale than images of this file that were read before.
        """
        stored = self[name]
        images, scale = images_from(stored, where=f"{self._where}: {name}")
        self._scales[name] = scale
        if stored.dtype.kind == "f":
            self._floating.add(name)
        if len(set(self._scales.values())) > 1:
            scales = ", ".join(f"{array} from {scale}" for array, scale in self._scales.items())
            raise DataError(f"{self._where}: expected all images on one scale, got {scales}; store uint8")
        return images

    @property
    def notes(self) -> tuple[str, ...]:
        """How the images that were read so far were scaled, if they are floating-point numbers: a sentence each."""
        return tuple(
            f"{self._where}: {name} are floating-point numbers; they are read as {scale}"
            for name, scale in self._scales.items()
            if name in self._floating
        )

    def labels(self, name: str) -> NDArray[np.int64]:
        """As class labels; raises `DataError` as `labels_from` does."""
        return labels_from(self[name], where=f"{self._where}: {name}")

    def split(self, part: str) -> Split:
        """`<part>_images` with `<part>_labels`."""
        return split_of(self.images(f"{part}_images"), self.labels(f"{part}_labels"))


@contextmanager
def open_arrays(path: Path, *, where: str) -> Iterator[Arrays]:
    """The arrays of the .npz file at `path`.

    Raises:
        DataError: the file is missing, or is not an .npz file.
    """
    if not path.is_file():
        raise DataError(f"{where}: expected an .npz file, got {'a folder' if path.is_dir() else 'no file'}")
    with ExitStack() as stack:
        try:
            # Opened by us, because NumPy leaves a damaged file open.
            archive = np.load(stack.enter_context(path.open("rb")), allow_pickle=False)
        except _UNREADABLE as error:
            raise DataError(
                f"{where}: expected an .npz file as numpy.savez writes it ({error}); create it again"
            ) from error
        if not isinstance(archive, NpzFile):
            raise DataError(f"{where}: expected an .npz file with named arrays, got a single array; use numpy.savez")
        yield Arrays(stack.enter_context(archive), where, path)


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz file that must never be written again: its images are mapped when it is opened.

    Raises:
        OSError: it cannot be written.
    """
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = _NEVER_CHANGES


def _head(file: BinaryIO) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    """Shape, whether the first axis comes first in memory, and type of the array that begins here."""
    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    return read(file)
