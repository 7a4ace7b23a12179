"""Which processes on a database are alive: each holds a lock for as long as it lives.

Beside a SQLite file it is a lock on a file of its own; in PostgreSQL, an advisory lock that every session of the
process shares.

Invariant: a lock that can be taken belongs to a dead process. The kernel, or the server, drops the lock at the moment
of death, so liveness depends on no clock, no process id that may be used again, and no orderly shutdown.
"""

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from shared.durable.engine import is_sqlite, reading

_ID_BYTES = 8


class _Holder(Protocol):
    def is_held(self, process_id: str) -> bool:
        """Whether the lock of the process with this id is held."""

    def release(self) -> None:
        """Drop this process's lock."""


class ProcessLock:
    """The lock of this process, and its view of the others. A context manager: leaving it frees the lock."""

    def __init__(self, process_id: str, holder: _Holder) -> None:
        self.id = process_id
        self._holder = holder

    def is_alive(self, process_id: str) -> bool:
        """Whether the process with this id holds its lock."""
        return process_id == self.id or self._holder.is_held(process_id)

    def close(self) -> None:
        """Free the lock: from now on this process counts as dead."""
        self._holder.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_process_lock(engine: Engine, folder_suffix: str) -> ProcessLock:
    """Lock for this process among those on the same database. On PostgreSQL it disposes of the
    sessions opened before.

    Args:
        engine: of the database.
        folder_suffix: names the folder of the lock files beside a SQLite file, such as `.instances`.
    """
    if is_sqlite(engine):
        return open_file_lock(lock_folder(engine, folder_suffix))
    process_id = secrets.token_hex(_ID_BYTES)
    return ProcessLock(process_id, _SessionLock(engine, process_id))


def open_file_lock(folder: Path) -> ProcessLock:
    """Lock for this process, on a file of its own in this folder."""
    process_id = secrets.token_hex(_ID_BYTES)
    return ProcessLock(process_id, _FileLock(folder, process_id))


def is_process_alive(engine: Engine, folder_suffix: str, process_id: str) -> bool:
    """Whether the process with this id holds its lock, as a process without a lock sees it."""
    if is_sqlite(engine):
        return _is_file_locked(_lock_path(lock_folder(engine, folder_suffix), process_id))
    return _is_advisory_lock_held(engine, process_id)


def lock_folder(engine: Engine, folder_suffix: str) -> Path:
    """The folder of the lock files of the processes that share a SQLite file: beside it."""
    return Path(f"{Path(str(engine.url.database)).resolve()}{folder_suffix}")


class _FileLock:
    def __init__(self, folder: Path, process_id: str) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._path = _lock_path(folder, process_id)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_held(self, process_id: str) -> bool:
        return _is_file_locked(_lock_path(self._folder, process_id))

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _lock_path(folder: Path, process_id: str) -> Path:
    return folder / f"{process_id}.lock"


def _is_file_locked(path: Path) -> bool:
    """Whether a process holds the lock on this file. The file of a dead process is removed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        with suppress(OSError):  # on a read-only mount it stays
            path.unlink()
        return False
    finally:
        os.close(descriptor)


class _SessionLock:
    """An advisory lock that every session of the engine's pool shares.

    So the very session that writes proves that its process is alive. A process whose sessions are all gone counts as
    dead, even if it runs: the ledger releases its holds and charges nothing for them; the cache repeats its purchases
    under the same Idempotency-Keys.
    """

    def __init__(self, engine: Engine, process_id: str) -> None:
        self._engine = engine
        self._number = _lock_number(process_id)
        event.listen(engine, "connect", self._share_lock)
        engine.dispose()  # sessions opened before do not hold the lock

    def is_held(self, process_id: str) -> bool:
        return _is_advisory_lock_held(self._engine, process_id)

    def release(self) -> None:
        event.remove(self._engine, "connect", self._share_lock)
        self._engine.dispose()

    def _share_lock(self, connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SELECT pg_advisory_lock_shared({self._number})")
        cursor.close()
        connection.commit()


def _is_advisory_lock_held(engine: Engine, process_id: str) -> bool:
    with reading(engine) as connection:
        statement = f"SELECT pg_try_advisory_xact_lock({_lock_number(process_id)})"
        return not connection.exec_driver_sql(statement).scalar()


def _lock_number(process_id: str) -> int:
    """The 64-bit signed number by which PostgreSQL names the lock."""
    return int.from_bytes(bytes.fromhex(process_id), signed=True)
