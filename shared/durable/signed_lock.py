"""A lock on a file, in which its holder signs: which process of which machine holds it.

Invariant: the kernel drops the lock when its holder dies. So whether a lock is held depends on no clock; a signature
alone says nothing, because that of a dead holder stays.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


class LockHeld(Exception):
    """Another process holds the lock."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder
        """Its signature, such as `4711@host`; empty if it did not sign."""


@contextmanager
def signed_lock(path: Path, *, shared: bool = False, waits: bool = False) -> Iterator[None]:
    """Hold the lock on a file, which is made if it does not exist.

    Args:
        path: the file.
        shared: hold it beside others that share it, unsigned, in place of alone.
        waits: wait until the lock is free.

    Raises:
        LockHeld: another process holds it, and this one does not wait.
        OSError: the file cannot be opened for writing.
    """
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if waits else fcntl.LOCK_NB)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, kind)
        except BlockingIOError:
            raise LockHeld(_signature(file)) from None
        if not shared:
            _sign(file)
        yield


def holder_of(path: Path) -> str | None:
    """The signature in a lock that another process holds alone; None if no process does. This writes nothing."""
    try:
        with path.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _signature(file)
    except FileNotFoundError:
        return None
    return None


def own_signature() -> str:
    """The signature of this process."""
    return f"{os.getpid()}@{socket.gethostname()}"


def own_partial_path(path: Path) -> Path:
    """Where this process writes the new content of a file that others may write meanwhile; see `atomic_replacement`."""
    return path.with_name(f".{path.name}.{own_signature()}.part")


def _sign(file: TextIO) -> None:
    with suppress(OSError):  # on a full disk the lock holds all the same
        file.truncate(0)
        file.write(own_signature())
        file.flush()


def _signature(file: TextIO) -> str:
    file.seek(0)
    return file.read()
