"""Which service processes are alive: each holds a lock of its own for as long as it lives.

Beside a SQLite ledger it is a lock on a file, in PostgreSQL an advisory lock of every session that the process has.

Invariant: a lock that can be taken belongs to a dead process. The kernel, or the server, drops it at the moment of
death, so this depends on no clock, no process id that may be used again, and no orderly shutdown.
"""

import fcntl
import os
import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from teacher_service.database.engine import is_sqlite, reading


class Instance(ABC):
    """This process, as its peers on the same ledger see it. A context manager: leaving it frees the lock."""

    id: str

    @abstractmethod
    def is_alive(self, instance_id: str) -> bool:
        """Whether the process with this id still runs."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def open_instance(engine: Engine) -> Instance:
    """This process among those on the same ledger; before the engine's first use, but for the tables."""
    return FileInstance(instances_folder(engine)) if is_sqlite(engine) else SessionInstance(engine)


def instances_folder(engine: Engine) -> Path:
    """Where the processes that share a SQLite file hold their locks: beside it."""
    return Path(f"{Path(str(engine.url.database)).resolve()}.instances")


class SessionInstance(Instance):
    """A process on a PostgreSQL ledger: every session of its pool shares one advisory lock.

    So the very session that admits a query vouches for it. A process whose sessions are all gone counts as dead; if it
    is not, it finds its holds released, and charges nothing for them.
    """

    def __init__(self, engine: Engine) -> None:
        self.id = secrets.token_hex(8)
        self._engine = engine
        event.listen(engine, "connect", self._vouch)
        engine.dispose()  # sessions opened before do not hold the lock

    def is_alive(self, instance_id: str) -> bool:
        """Whether any session of the process with this id still holds its lock."""
        if instance_id == self.id:
            return True
        with reading(self._engine) as connection:
            return not connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_number(instance_id)})").scalar()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def _vouch(self, connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SELECT pg_advisory_lock_shared({_number(self.id)})")
        cursor.close()
        connection.commit()


def _number(instance_id: str) -> int:
    """64 bits with a sign, as PostgreSQL numbers its locks."""
    return int.from_bytes(bytes.fromhex(instance_id), signed=True)


class FileInstance(Instance):
    """A process on a SQLite ledger, which holds a lock on a file."""

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _lock_path(self, instance_id: str) -> Path:
        return self._folder / f"{instance_id}.lock"
