"""Which processes are buying into a cache: each holds a lease on its purchases for as long as it lives.

The lease is a lock: beside a SQLite cache on a file, in PostgreSQL an advisory lock of every session that the process
has. The kernel, or the server, drops it at the moment of death, so a lease depends on no clock, and what a killed
worker left open is taken over at once.

Invariant: a purchase is seen to by one living process. Where a lease is lost though its holder lives (its connection
broke), the same purchase is repeated under its one Idempotency-Key.
"""

import fcntl
import os
import secrets
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from distill_worker.cache.database.engine import is_sqlite, reading


class Buyer(Protocol):
    """This process, as others that buy into the same cache see it."""

    id: str

    def close(self) -> None:
        """Buy no more."""


def open_buyer(engine: Engine) -> Buyer:
    """This process among those that buy into the same cache."""
    return _FileBuyer(_folder(engine)) if is_sqlite(engine) else _SessionBuyer(engine)


def is_alive(engine: Engine, buyer_id: str | None) -> bool:
    """Whether the process with this id still buys. Nobody is dead; so is whoever closed its cache."""
    if buyer_id is None:
        return False
    if is_sqlite(engine):
        return _is_locked(_lock_path(_folder(engine), buyer_id))
    with reading(engine) as connection:
        return not connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_number(buyer_id)})").scalar()


class _FileBuyer:
    """Holds a lock on a file."""

    def __init__(self, folder: Path) -> None:
        self.id = secrets.token_hex(8)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = _lock_path(folder, self.id)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _folder(engine: Engine) -> Path:
    return Path(f"{engine.url.database}.buyers")


def _lock_path(folder: Path, buyer_id: str) -> Path:
    return folder / f"{buyer_id}.lock"


def _is_locked(path: Path) -> bool:
    """A file that nobody has locked is a dead process's, and is removed."""
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


class _SessionBuyer:
    """Every session of its engine shares one advisory lock: the very session that claims samples vouches for them."""

    def __init__(self, engine: Engine) -> None:
        self.id = secrets.token_hex(8)
        self._engine = engine
        event.listen(engine, "connect", self._vouch)
        engine.dispose()  # sessions opened before do not hold the lock

    def close(self) -> None:
        event.remove(self._engine, "connect", self._vouch)
        self._engine.dispose()

    def _vouch(self, connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SELECT pg_advisory_lock_shared({_number(self.id)})")
        cursor.close()
        connection.commit()


def _number(buyer_id: str) -> int:
    """64 bits with a sign, as PostgreSQL numbers its locks."""
    return int.from_bytes(bytes.fromhex(buyer_id), signed=True)
