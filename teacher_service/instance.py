"""Which service processes are alive: each holds a lock on a file of its own for as long as it lives.

Invariant: a lock that can be taken belongs to a dead process. The kernel drops it at the moment of death, so this
depends on no clock, no process id that may be used again, and no orderly shutdown.
"""

import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self


class Instance:
    """This process, as its peers on the same ledger see it. A context manager: leaving it frees the lock."""

    def __init__(self, folder: Path) -> None:
        self.id = secrets.token_hex(8)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._path = self._lock_path(self.id)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_alive(self, instance_id: str) -> bool:
        """Whether the process with this id still runs. A dead one's lock file is removed."""
        if instance_id == self.id:
            return True
        path = self._lock_path(instance_id)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _lock_path(self, instance_id: str) -> Path:
        return self._folder / f"{instance_id}.lock"
