"""The SQL engine that the ledger lives in: a SQLite file, or a PostgreSQL server that several services share."""

import secrets
import sqlite3
from pathlib import Path
from time import monotonic, sleep

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, update
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry

from teacher_service.database.migrations import migrate
from teacher_service.database.schema import chain_head
from teacher_service.database.sqlite_file_guard import keep_to_its_file

_WRITER = (0x7475, 1)
"""The advisory lock of whoever writes: PostgreSQL's space of two 32-bit numbers, apart from that of instances."""

_BUSY_SECONDS = 5


def open_database(ledger: str | Path) -> Engine:
    """An engine on the ledger (a SQLAlchemy URL, or a SQLite file), its tables created or brought up to date.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be opened or written.
        LedgerTooNew: a later version of the service has changed its tables.
        OSError: the folder of a SQLite file cannot be created.
    """
    url = URL.create("sqlite", database=str(ledger)) if isinstance(ledger, Path) else make_url(ledger)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    if is_sqlite(engine):
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _prepare_postgresql)
        event.listen(engine, "begin", _begin_postgresql)
    try:
        with engine.begin() as connection:
            migrate(connection)
        if is_sqlite(engine):
            keep_to_its_file(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def is_sqlite(engine: Engine) -> bool:
    """Whether the ledger is a file; else it is a PostgreSQL server's."""
    return engine.dialect.name == "sqlite"


def reading(engine: Engine) -> Connection:
    """A connection for reading alone, which never waits for a writer."""
    return engine.connect().execution_options(reading=True)


def let_commits_be_lost(connection: Connection, *, may_be_lost: bool) -> None:
    """Whether a power cut may undo what this connection commits from now on, as it does not wait for the disk.

    Such a commit survives the end of every process, is seen by every other at once, and is on disk after the next one
    that waits for it. PostgreSQL waits all the same: its server may fall and forget a hold while the process that took
    it lives on.
    """
    connection.execution_options(may_be_lost=may_be_lost)


def snapshot(engine: Engine) -> Connection:
    """A connection for reading alone, to which the ledger stands still from its first look on."""
    connection = reading(engine)
    if not is_sqlite(engine):  # where a transaction that reads sees a snapshot anyway
        connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return connection


def write_a_trace(connection: Connection) -> None:
    """Write something that means nothing: whether anything can be written shows when it is committed."""
    if connection.dialect.name == "sqlite":  # which does not write a row that stays as it is
        connection.exec_driver_sql(f"PRAGMA user_version = {secrets.randbits(31)}")
    else:
        connection.execute(update(chain_head).values(sequence=chain_head.c.sequence))


def follow_indexes(connection: Connection) -> None:
    """Let this transaction find rows in the order of an index, and stop when it has enough.

    PostgreSQL plans by statistics that may be old: it would gather and sort what it takes for a few rows.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true), "
            "set_config('enable_seqscan', 'off', true)"
        )


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver must not begin transactions behind our back
    cursor = connection.cursor()
    cursor.execute(
        f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}"
    )  # other processes (the command line) write too; wait for them
    _keep_a_write_ahead_log(cursor)  # readers never wait for the writer
    cursor.execute("PRAGMA wal_autocheckpoint = 4000")  # pages: emptying the log waits for the disk twice
    cursor.execute("PRAGMA foreign_keys = ON")  # off by default
    cursor.close()


def _keep_a_write_ahead_log(cursor: DBAPICursor) -> None:
    # The first of several processes that start together changes the file, during which SQLite turns the others away at
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
    if _only_reads(connection):
        connection.exec_driver_sql("BEGIN")
        return
    # NORMAL hands a commit to the operating system and does not wait for the disk; the next FULL one takes it along.
    connection.exec_driver_sql(f"PRAGMA synchronous = {'NORMAL' if _may_be_lost(connection) else 'FULL'}")
    # Taking the write lock at once: a transaction that reads first and writes later could fail half-way.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_postgresql(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("SET synchronous_commit = on")  # a charge survives a power cut, whatever the server's default
    cursor.execute("SET lock_timeout = '5s'")  # as long as SQLite's busy_timeout
    cursor.execute("SET tcp_keepalives_idle = 10")  # the server notices within half a minute that a replica's machine
    cursor.execute("SET tcp_keepalives_interval = 5")  # is gone, and drops the lock that says it lives
    cursor.execute("SET tcp_keepalives_count = 4")
    cursor.close()
    connection.commit()


def _begin_postgresql(connection: Connection) -> None:
    # One writer at a time, as in SQLite: what was read in a writing transaction cannot change before it is written.
    if not _only_reads(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER[0]}, {_WRITER[1]})")


def _only_reads(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("reading", False))


def _may_be_lost(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("may_be_lost", False))
