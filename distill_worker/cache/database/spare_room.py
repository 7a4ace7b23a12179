"""Room on the disk for the paid answers of requests in flight.

A teacher that charges for repeats is paid twice for an answer that could not be stored. So room is held before a
request leaves, and given up when the disk turns out to be full: then the answers in flight still fit.

The room is an unlinked file in the folder of the cache, so it is free again as soon as the process ends, even by a
kill. Limit: another process may take the room at the moment when it is given up.
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

BYTES: Final = 64 * 2**20
"""Several MB for each request in flight: an answer is written to the log of the database first, then to its file."""


class SpareRoom:
    """Disk space in a folder, held or not."""

    def __init__(self, folder: Path, size: int = BYTES) -> None:
        self._folder = folder
        self._size = size
        self._file: IO[bytes] | None = None

    def hold(self) -> None:
        """Hold the room, unless it is held. Raises `OSError` if the disk has too little space."""
        if self._file is not None:
            return
        file = TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  # it stays open until it is given up
        try:
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, self._size)
            else:
                for _ in range(0, self._size, 2**20):
                    file.write(bytes(2**20))
        except OSError:
            file.close()
            raise
        self._file = file

    def give_up(self) -> bool:
        """Free the room; whether it was held."""
        file, self._file = self._file, None
        if file is None:
            return False
        with file:
            file.truncate(0)  # a forked process may have the file open, too
        return True
