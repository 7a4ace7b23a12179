"""The ledger's tables and the engine they live in.

Everything here is plain SQL that SQLite and PostgreSQL both speak, but for `_prepare_...` and `_begin_...`.
Times are seconds since the epoch, UTC.
"""

import secrets
import sqlite3
from pathlib import Path
from time import monotonic, sleep

from sqlalchemy import (
    URL,
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    make_url,
    text,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry

from teacher_service.migrations import migrate
from teacher_service.sqlite_file import keep_to_its_file

metadata = MetaData()

_WRITER = (0x7475, 1)
"""The advisory lock of whoever writes: PostgreSQL's space of two 32-bit numbers, apart from that of instances."""

_BUSY_SECONDS = 5

_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in a column called INTEGER

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("secret_sha256", String(64), nullable=False),
    Column("quota", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False, server_default=text("0")),
    Column("reserved", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", Float(53), nullable=False),
    Column("revoked_at", Float(53)),
    Column("revision", Integer, nullable=False, server_default=text("0")),
    Column("holder", String(200), nullable=False, server_default=text("''")),
    Column("outputs", String(500), nullable=False, server_default=text("'logits'")),
    Column("expires_at", Float(53)),
    Column("requests_per_minute", BigInteger),
    Column("samples_per_minute", BigInteger),
    Column("max_concurrent", BigInteger),
    Column("in_flight", BigInteger, nullable=False, server_default=text("0")),
    Column("requests_debt", BigInteger, nullable=False, server_default=text("0")),
    Column("requests_debt_at_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("samples_debt", BigInteger, nullable=False, server_default=text("0")),
    Column("samples_debt_at_ms", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("used >= 0 AND reserved >= 0 AND used + reserved <= quota", name="never_over_admitted"),
)
"""`revision` counts the changes of secret and terms; `in_flight` the queries that hold samples."""

grants = Table(
    "grants",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("key_id", ForeignKey("api_keys.id"), nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("reference", String(255)),
    CheckConstraint("samples > 0", name="grants_something"),
    sqlite_autoincrement=True,
)
"""How each key came by its quota, which is their sum. Rows are added, never changed.

`reference` is the caller's own word for the grant, by which a repetition of it is known.
"""
Index("grants_by_key", grants.c.key_id, grants.c.id)
_referred_to = grants.c.reference.is_not(None)
Index(
    "grants_by_reference",
    grants.c.key_id,
    grants.c.reference,
    unique=True,
    sqlite_where=_referred_to,
    postgresql_where=_referred_to,
)

queries = Table(
    "queries",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("request_id", String(64), nullable=False),
    Column("key_id", ForeignKey("api_keys.id"), nullable=False),
    Column("model_name", String(64), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("samples", Integer, nullable=False),
    Column("payload_sha256", String(64), nullable=False),
    Column("idempotency_key", String(255)),
    Column("status", String(10), nullable=False),
    Column("instance_id", String(32), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("finished_at", Float(53)),
    Column("outputs", String(500)),
    Column("answer_sha256", String(64)),
    CheckConstraint("status IN ('held', 'settled', 'released')", name="known_status"),
    CheckConstraint("samples > 0", name="charges_something"),
    sqlite_autoincrement=True,
)
"""The facts of each query, of which only status, finished_at and answer_sha256 change, once."""
Index("queries_by_key", queries.c.key_id, queries.c.status, queries.c.created_at, queries.c.id)
Index("queries_by_status", queries.c.status, queries.c.created_at, queries.c.id)
_held = queries.c.status == "held"
Index("held_queries", queries.c.instance_id, sqlite_where=_held, postgresql_where=_held)

answers = Table(
    "answers",
    metadata,
    Column("key_id", ForeignKey("api_keys.id"), primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    Column("payload_sha256", String(64), nullable=False),
    Column("query_id", ForeignKey("queries.id"), nullable=False, unique=True),
    Column("content", LargeBinary),
    Column("header_length", Integer),
    Column("kept_until", Float(53)),
)
"""One row for each Idempotency-Key.

`content` is NULL while the request is being answered, and again when the answer was kept for as long as promised;
`kept_until` is NULL while it is being answered, or where the answer is kept for ever.
"""
_kept = answers.c.content.is_not(None)
Index("answers_by_end", answers.c.kept_until, sqlite_where=_kept, postgresql_where=_kept)

query_events = Table(
    "query_events",
    metadata,
    Column("sequence", _Id, primary_key=True, autoincrement=False),
    Column("query_id", ForeignKey("queries.id"), nullable=False),
    Column("event", String(10), nullable=False),
    Column("at", Float(53), nullable=False),
    Column("sha256", LargeBinary, nullable=False),
)
"""What happened to each query, chained (see `query_chain`). Rows are added, never changed."""

chain_head = Table(
    "chain_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
)
"""One row: the last entry of the chain."""

daily_usage = Table(
    "daily_usage",
    metadata,
    Column("key_id", ForeignKey("api_keys.id"), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("queries", BigInteger, nullable=False),
    Column("samples", BigInteger, nullable=False),
)
"""What each key was charged on each day, counted in days since the epoch, UTC."""
Index("daily_usage_by_day", daily_usage.c.day)


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
