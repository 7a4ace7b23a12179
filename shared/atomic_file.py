"""Writing a file so that a reader, or a power cut, sees the old file or the new one, never half of either.

The new content is written to a partial file beside it and flushed to disk; the partial file is then renamed, and the
folder flushed, so that the new name is on disk too.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EINVAL, ENOTSUP
from pathlib import Path


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace the file at `path` by these bytes.

    Raises:
        OSError: the old file is untouched; or, if only the folder could not be flushed, the new file is in place.
    """
    with atomic_replacement(path) as partial:
        partial.write_bytes(content)


@contextmanager
def atomic_replacement(path: Path, *, partial: Path | None = None) -> Iterator[Path]:
    """Replace the file at `path` by the partial file that the block writes to the yielded path.

    If the block raises, the partial file is removed and the old file is untouched.

    Args:
        path: the file to create or replace.
        partial: where to write meanwhile, in the same folder; `partial_path(path)` by default. Two processes that may
            write at the same time need different ones.
    """
    partial = partial or partial_path(path)
    try:
        yield partial
        move_into_place(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def partial_path(path: Path) -> Path:
    """The path beside `path` at which its new content is written."""
    return path.with_name(f".{path.name}.part")


def create_private_file(path: Path, content: bytes) -> None:
    """Write a new file that only its owner may read (mode 600), on disk when this returns.

    Raises:
        FileExistsError: there is a file at `path`; it is untouched.
        OSError: the file cannot be written; none is left at `path`.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def move_into_place(partial: Path, path: Path) -> None:
    """Flush a finished partial file to disk and rename it to `path`, in the same folder.

    Raises:
        OSError: as `write_atomically`.
    """
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, where the folder can be read and flushed."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:  # the file is in place: a folder that cannot be read or flushed is no failure
        if error.errno not in (EACCES, EINVAL, ENOTSUP):
            raise
