"""The database that a cache lives in: a SQLite file, or a PostgreSQL server that several machines share.

Whoever writes does so alone: what a writing transaction has read does not change before it ends, and blocks are
numbered in the order in which they are committed.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from distill_worker.cache.database.migrations import CacheTooNew
from distill_worker.errors import CacheError

_WRITER = (0x7475, 2)
"""The advisory lock of whoever writes: PostgreSQL's space of two 32-bit numbers, apart from that of buyers."""

_BUSY_SECONDS = 30

WHAT_TO_DO_WITH_A_FILE = (
    "If the file is damaged, restore a copy or move it aside; do not delete it, for what is in it was paid for"
)
_WHAT_TO_DO_WITH_A_SERVER = "Is the server running, and is the URL right?"


def open_engine(place: Path | str) -> Engine:
    """An engine on a SQLite file, or on a database by a URL that can be shown; opens nothing yet."""
    url = URL.create("sqlite", database=str(place)) if isinstance(place, Path) else make_url(place)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        # Else, where the server's default is another, who waits for the lock sees what was there before it was granted.
        engine = create_engine(url, isolation_level="READ COMMITTED")
        event.listen(engine, "connect", _prepare_postgresql)
        event.listen(engine, "begin", _begin_postgresql)
    return engine


def shown(place: Path | str) -> str:
    """The place of a cache, without the password that a URL may hold.

    Raises:
        CacheError: it is a URL of another kind, or none.
    """
    if isinstance(place, Path):
        return str(place)
    try:
        url = make_url(place)
    except (ArgumentError, ValueError) as error:
        raise CacheError(
            f"cache: expected a file or postgresql://user@host:port/database, got no URL ({error})"
        ) from error
    if url.get_backend_name() != "postgresql":
        raise CacheError(f"cache: expected a file or postgresql://..., got {url.drivername}://...")
    return url.render_as_string(hide_password=True)


def is_sqlite(engine: Engine) -> bool:
    """Whether the cache is a file; else it is a server's."""
    return engine.dialect.name == "sqlite"


def reading(engine: Engine) -> Connection:
    """A connection for reading alone, which never waits for a writer."""
    return engine.connect().execution_options(reading=True)


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Whatever a database says becomes a `CacheError` that names the cache, and says what to do."""
    try:
        yield
    except CacheTooNew as error:
        raise CacheError(f"{place}: {error}") from error
    except (SQLAlchemyError, OSError, UnicodeError) as error:
        reason = getattr(error, "orig", None) or error
        advice = _WHAT_TO_DO_WITH_A_SERVER if "://" in place else WHAT_TO_DO_WITH_A_FILE
        raise CacheError(
            f"{place}: the cache of bought outputs cannot be used ({str(reason).strip()}). {advice}"
        ) from error


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")  # another worker may share the file
    _keep_a_write_ahead_log(cursor)  # a reader never waits for a purchase
    cursor.execute("PRAGMA synchronous = FULL")  # an intention must be on disk before the money can leave
    cursor.execute("PRAGMA foreign_keys = ON")  # off by default
    cursor.close()


def _keep_a_write_ahead_log(cursor: DBAPICursor) -> None:
    # The first of several workers that start together changes the file, during which SQLite turns the others away at
    # once, whatever its busy_timeout: waiting is ours.
    until = monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > until:
                raise
            sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: a transaction that reads first and writes later could fail half-way.
    connection.exec_driver_sql("BEGIN" if _only_reads(connection) else "BEGIN IMMEDIATE")


def _prepare_postgresql(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("SET synchronous_commit = on")  # an intention must be on disk before the money can leave
    cursor.execute("SET lock_timeout = '30s'")  # as long as SQLite's busy_timeout
    cursor.execute("SET tcp_keepalives_idle = 10")  # the server notices within half a minute that a worker's machine
    cursor.execute("SET tcp_keepalives_interval = 5")  # is gone, and drops the lock that says it lives
    cursor.execute("SET tcp_keepalives_count = 4")
    cursor.close()
    connection.commit()


def _begin_postgresql(connection: Connection) -> None:
    if not _only_reads(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER[0]}, {_WRITER[1]})")


def _only_reads(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("reading", False))
