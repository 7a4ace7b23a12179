"""Where stores are, and who may change them.

decoded/photos-1f0a9c3e5b7d2468/    the pictures of one folder or list, in one size
    about.json                      which folder or list, and which size
    index.sqlite                    the files, their rows, and the sample keys
    pixels-1.u8                     uint8 `[pictures, channels, height, width]`, in the order of the data set
    gradients-1-0-9000.npy          an array of the 9,000 pictures from row 0 of pixels-1.u8 on
    lock                            held by the process that decodes
"""

import fcntl
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from distill_worker.data.pictures.display import DISPLAY
from distill_worker.data.pictures.rules import Rules
from distill_worker.errors import DataError

INDEX: Final = "index.sqlite"
ABOUT: Final = "about.json"
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
    rules: Rules
    """A store of other rules is another store."""


def folder_of(source: Source) -> Path:
    """The store of a source, which is made if there is none. Raises `DataError`."""
    data = source.data.absolute()
    text = json.dumps({"data": str(data), "image_size": source.image_size, "rules": source.rules}, sort_keys=True)
    name = sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    folder = source.stores / f"{data.name}-{name}"
    with reported(folder):
        folder.mkdir(parents=True, exist_ok=True)
        about = folder / ABOUT
        if not about.exists() or about.stat().st_size == 0:  # a process was killed before it wrote
            about.write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
    return folder


def pixels_file(store: Path, generation: int) -> Path:
    """The file of pixels with this number."""
    return store / f"pixels-{generation}.u8"


def array_file(store: Path, name: str, rows: tuple[int, int, int]) -> Path:
    """The file of an array of pictures: of the pixels with a number, from a first row on, so many rows."""
    return store / f"{name}-{'-'.join(map(str, rows))}.npy"


def stale_files(store: Path, generation: int) -> list[Path]:
    """The files of pixels with another number, and of arrays of their pictures."""
    current = {pixels_file(store, generation), *store.glob(f"*-{generation}-*-*.npy")}
    return [path for pattern in ("pixels-*.u8", "*.npy") for path in store.glob(pattern) if path not in current]


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


def check_space(folder: Path, needed: int) -> None:
    """Raise `DataError` unless there is space for so many bytes of pixels."""
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
    except (OSError, sqlite3.Error, json.JSONDecodeError) as error:
        raise DataError(
            f"data.store: {folder} cannot be used ({error}); what was decoded stays. Free space, allow this user to "
            "write there, or set data.store to another folder; if the store is damaged, delete it: it is made again"
        ) from error
