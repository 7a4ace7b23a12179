"""The database of a cache: a SQLite file, or a PostgreSQL database that several machines share.

Blocks are numbered in the order in which they are committed, as one transaction writes at a time.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from distill_worker.cache.database import schema
from distill_worker.cache.database.schema_version import CacheTooNew, is_current, migrate
from distill_worker.errors import CacheError
from shared.durable import engine as durable
from shared.durable import process_lock
from shared.durable.database_url import is_like_a_url, shown_url, without_secrets
from shared.durable.process_lock import ProcessLock

_LOCK_FOLDER_SUFFIX: Final = ".buyers"

_OPTIONS = durable.EngineOptions(busy_seconds=30, writer_lock=(0x7475, 2))

WHAT_TO_DO_WITH_A_FILE: Final = (
    "If the file is damaged, restore a copy or move it aside; do not delete it, for what is in it was paid for"
)
_WHAT_TO_DO_WITH_A_SERVER: Final = "Is the server running, and is the URL right?"


_WHAT_TO_DO_WITH_A_FULL_DISK: Final = "Free some space, and run the same command again: what is in the cache is whole"


def place_of(text: str) -> Path | str:
    """The place that a text names: a file, or the URL of a PostgreSQL database.

    Raises:
        CacheError: it looks like the URL of a database, and is none that can be used.
    """
    if text.startswith(("postgresql://", "postgresql+psycopg://")):
        if (fault := durable.url_fault(text)) is not None:
            raise CacheError(f"cache: {fault}")
        return text
    if is_like_a_url(text) and not os.path.lexists(text):  # earlier versions may have made such a file
        raise CacheError("cache: expected a file or postgresql://user:password@host:port/database, got another URL")
    return Path(text)


def is_read_only(file: Path) -> bool:
    """Whether there is a file that cannot be written: on a read-only mount, or for lack of permission."""
    return file.is_file() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def holds_purchases(file: Path) -> bool:
    """Whether a file is a cache into which something was bought or imported, or cannot be read."""
    try:
        if not file.is_file() or not file.stat().st_size:
            return False
        engine = durable.open_read_only_engine(file)
        with engine.connect() as connection:
            if not inspect(connection).has_table(schema.purchases.name):
                return False
            return connection.scalar(select(schema.purchases.c.id).limit(1)) is not None
    except (SQLAlchemyError, OSError, durable.UnreadableLog):
        return True


def open_empty() -> Engine:
    """An engine on an empty cache in memory."""
    engine = durable.open_empty_in_memory()
    with engine.begin() as connection:
        migrate(connection)
    return engine


def open_database(place: Path | str) -> Engine:
    """An engine on a SQLite file, or on a database by a URL from `place_of`, with its tables up to date.

    Tables that an earlier version wrote are brought up to date in place; in memory where the file cannot be written.
    """
    if isinstance(place, Path) and is_read_only(place):
        engine = durable.open_read_only_engine(place)
        with engine.begin() as connection:
            if is_current(connection):
                return engine
        engine = durable.open_copy_in_memory(place)
    else:
        engine = durable.open_engine(place, _OPTIONS)
    with engine.begin() as connection:
        migrate(connection)
    return engine


def open_process_lock(engine: Engine) -> ProcessLock:
    """The lock of this process among those that buy into the same cache: its lease on its purchases.

    Invariant: one living process owns a purchase. If a lease is lost though its holder lives (its connection broke),
    the same purchase is repeated under its one Idempotency-Key.
    """
    return process_lock.open_process_lock(engine, _LOCK_FOLDER_SUFFIX)


def is_buyer_alive(engine: Engine, buyer_id: str | None) -> bool:
    """Whether the process with this id still holds its lease. False for None: the purchase has no buyer."""
    return buyer_id is not None and process_lock.is_process_alive(engine, _LOCK_FOLDER_SUFFIX, buyer_id)


def shown(place: Path | str) -> str:
    """The place of a cache, without the password that a URL may hold."""
    return str(place) if isinstance(place, Path) else shown_url(place)


@contextmanager
def explained(place: Path | str) -> Iterator[None]:
    """Translate every error of the database into a `CacheError` that names the cache and what to do next."""
    try:
        yield
    except (CacheTooNew, durable.UnreadableLog) as error:
        raise CacheError(f"{shown(place)}: {error}") from error
    except (SQLAlchemyError, OSError, UnicodeError) as error:
        reason = str(getattr(error, "orig", None) or error).strip()
        if isinstance(place, str):
            reason = without_secrets(reason, place)
        raise CacheError(
            f"{shown(place)}: the cache of bought outputs cannot be used ({reason}). {_what_to_do(place, error)}"
        ) from error


def _what_to_do(place: Path | str, error: Exception) -> str:
    if isinstance(place, str):
        return _WHAT_TO_DO_WITH_A_SERVER
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    return _WHAT_TO_DO_WITH_A_FULL_DISK if code == sqlite3.SQLITE_FULL else WHAT_TO_DO_WITH_A_FILE
