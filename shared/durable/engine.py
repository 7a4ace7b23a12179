"""The SQL engine of the ledger and of the cache: a SQLite file, or a PostgreSQL database that several machines share.

Invariant: one transaction writes at a time, so what a writing transaction has read does not change before it ends.
"""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, Pool, StaticPool

from shared.durable.database_url import ESCAPES
from shared.durable.driver import on_cursor


@dataclass(frozen=True)
class EngineOptions:
    """What the ledger and the cache set differently."""

    busy_seconds: int
    """How long a transaction waits for a lock."""
    writer_lock: tuple[int, int]
    """The advisory lock of the writing transaction: two 32-bit numbers, a space apart from that of process locks."""
    commits_may_be_lost: bool = False
    """Whether `let_commits_be_lost` has an effect, at the price of one more PRAGMA in each writing transaction."""
    checkpoint_pages: int | None = None
    """The size of the write-ahead log at which SQLite empties it; None for SQLite's default."""


_AFTER_USER: Final = re.compile(r"[\w+]+://(?:[^:/]*(?::[^@]*)?@)?(?P<rest>.*)", re.DOTALL)
"""Splits a URL where SQLAlchemy does."""


class UnreadableLog(Exception):
    """A SQLite file lacks transactions that are in its log only, and the log cannot be read without writing."""


def open_engine(place: Path | str, options: EngineOptions) -> Engine:
    """An engine on a SQLite file, or on a database by its URL. It does not connect yet.

    Raises:
        sqlalchemy.exc.ArgumentError: the URL is malformed.
    """
    url = URL.create("sqlite", database=str(place)) if isinstance(place, Path) else make_url(place)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url)
        _listen_sqlite(engine, options)
    else:
        # Under a stricter default of the server, a writer that waited for its lock would read a snapshot from before
        # the lock was granted, and its updates would fail with "could not serialize access".
        engine = create_engine(url, isolation_level="READ COMMITTED")
        _listen_postgresql(engine, options)
    return engine


def url_fault(url: str) -> str | None:
    """Why a database URL cannot be used, in words that repeat nothing of it; None if it can.

    A part of the password would be taken for the host if an `@` in it is not escaped.
    """
    try:
        make_url(url)
    except (ArgumentError, ValueError):
        return f"expected a URL, got one that cannot be read; in its user name and password, {ESCAPES}"
    match = _AFTER_USER.match(url)
    if match and "@" in match["rest"]:
        return f"expected one @, before the host, got several; in the user name and password, {ESCAPES}"
    return None


def open_read_only_engine(file: Path) -> Engine:
    """An engine on a SQLite file that can be read but not written, such as one on a read-only mount.

    Connecting raises `UnreadableLog` where the file lacks transactions that only its log has.
    """
    # Whether there is a log may change between two connections.
    return _deferred_engine(file, lambda: _connect_read_only(file), NullPool)


def open_copy_in_memory(file: Path) -> Engine:
    """An engine on a copy of a SQLite file that can be read but not written; its changes are lost at the end.

    Raises:
        UnreadableLog: as `open_read_only_engine`.
    """
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with closing(_connect_read_only(file)) as source:
        source.backup(copy)
    return _deferred_engine(file, lambda: copy, StaticPool)


def open_empty_in_memory() -> Engine:
    """An engine on an empty SQLite database in memory."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    return _deferred_engine(Path(":memory:"), lambda: memory, StaticPool)


def _deferred_engine(file: Path, connect: Callable[[], sqlite3.Connection], pool: type[Pool]) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(file)), creator=connect, poolclass=pool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _connect_read_only(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(_read_only_uri(file), uri=True, isolation_level=None, check_same_thread=False)


def _read_only_uri(file: Path) -> str:
    uri = f"file:{quote(str(file.resolve()))}?mode=ro"
    if Path(f"{file}-shm").exists():
        return uri
    for log in (Path(f"{file}-wal"), Path(f"{file}-journal")):
        if log.exists() and log.stat().st_size:
            raise UnreadableLog(
                f"its last transactions are in {log.name}, which cannot be read here: copy both files to a folder that "
                "can be written, and use the copy"
            )
    return f"{uri}&immutable=1"  # without a log no process writes the file; SQLite would want to make one


def is_sqlite(engine: Engine) -> bool:
    """Whether the database is a SQLite file; otherwise it is on a PostgreSQL server."""
    return engine.dialect.name == "sqlite"


def reading(engine: Engine) -> Connection:
    """A read-only connection, which never waits for a writer."""
    return engine.connect().execution_options(reading=True)


def let_commits_be_lost(connection: Connection, *, may_be_lost: bool) -> None:
    """Set whether the next commits of this connection may be lost in a power cut, as they do not wait for the disk.

    Such a commit survives the end of every process, is seen by every other at once, and is on disk after the next one
    that waits for it. PostgreSQL waits in any case: its server could crash and lose a hold while the process that took
    it lives on.
    """
    connection.execution_options(may_be_lost=may_be_lost)


def _listen_sqlite(engine: Engine, options: EngineOptions) -> None:
    def configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself; `begin` does
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {options.busy_seconds * 1000}")  # other processes write too
        _keep_a_write_ahead_log(cursor, options.busy_seconds)  # readers never wait for the writer
        if options.checkpoint_pages is not None:
            cursor.execute(f"PRAGMA wal_autocheckpoint = {options.checkpoint_pages}")  # emptying waits for disk twice
        if not options.commits_may_be_lost:
            cursor.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns
        cursor.execute("PRAGMA foreign_keys = ON")  # off by default
        cursor.close()

    def begin(connection: Connection) -> None:
        if _only_reads(connection):
            connection.exec_driver_sql("BEGIN")
            return

        def lock(cursor: DBAPICursor) -> None:
            if options.commits_may_be_lost:
                # NORMAL hands a commit to the operating system and does not wait for the disk; the next FULL commit
                # takes it along.
                cursor.execute(f"PRAGMA synchronous = {'NORMAL' if _may_be_lost(connection) else 'FULL'}")
            # At once: a transaction that reads first and writes later could fail half-way.
            cursor.execute("BEGIN IMMEDIATE")

        on_cursor(connection, "BEGIN IMMEDIATE", lock)

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", begin)


def _keep_a_write_ahead_log(cursor: DBAPICursor, busy_seconds: int) -> None:
    # The first of several processes that start together changes the file. Meanwhile SQLite rejects the others at once,
    # whatever their busy_timeout, so they must wait here.
    until = monotonic() + busy_seconds
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > until:
                raise
            sleep(0.01)
        else:
            return


def _listen_postgresql(engine: Engine, options: EngineOptions) -> None:
    def configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("SET synchronous_commit = on")  # a commit survives a power cut, whatever the server's default
        cursor.execute(f"SET lock_timeout = '{options.busy_seconds}s'")  # as long as SQLite's busy_timeout
        cursor.execute("SET tcp_keepalives_idle = 10")  # the server notices within half a minute that a machine is
        cursor.execute("SET tcp_keepalives_interval = 5")  # gone, and drops the lock that says its process is alive
        cursor.execute("SET tcp_keepalives_count = 4")
        cursor.close()
        connection.commit()

    def begin(connection: Connection) -> None:
        if not _only_reads(connection):
            first, second = options.writer_lock
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({first}, {second})")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", begin)


def _only_reads(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("reading", False))


def _may_be_lost(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("may_be_lost", False))
