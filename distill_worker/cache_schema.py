"""The tables of the cache, and the engine that they live in."""

from pathlib import Path

from sqlalchemy import (
    URL,
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
    UniqueConstraint,
    create_engine,
    event,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

metadata = MetaData()

streams = Table(
    "streams",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("teacher_id", String(200), nullable=False),
    Column("output_kind", String(1000), nullable=False),
    UniqueConstraint("teacher_id", "output_kind"),
)
"""One row for each teacher and output kind, so that an output's row need not repeat them.

A purchase of several kinds at once has a row of its own, whose kind is theirs joined by `KIND_SEPARATOR`.
"""
KIND_SEPARATOR = "+"

stream_shapes = Table(
    "stream_shapes",
    metadata,
    Column("stream_id", ForeignKey("streams.id"), primary_key=True),
    Column("shape", String(80), nullable=False),
)
"""The shape of one sample's output, as numbers with commas between; absent where it is a plain vector."""

purchases = Table(
    "purchases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("stream_id", ForeignKey("streams.id"), nullable=False),
    Column("idempotency_key", String(64), nullable=False, unique=True),
    Column("payer", String(16), nullable=False),
    Column("sample_keys", LargeBinary, nullable=False),
    Column("status", String(10), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("finished_at", Float(53)),
)
is_open = purchases.c.status == "open"
Index("open_purchases", purchases.c.stream_id, sqlite_where=is_open, postgresql_where=is_open)

outputs = Table(
    "outputs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("stream_id", ForeignKey("streams.id"), nullable=False),
    Column("sample_key", LargeBinary, nullable=False),
    Column("purchase_id", ForeignKey("purchases.id"), nullable=False),
    Column("vector", LargeBinary, nullable=False),
    UniqueConstraint("stream_id", "sample_key"),
)
"""`vector` is little-endian float32."""


def open_engine(path: Path) -> Engine:
    """An engine on a SQLite file; opens nothing yet."""
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 30000")  # another worker may share the file
    cursor.execute("PRAGMA journal_mode = WAL")  # a reader never waits for a purchase
    cursor.execute("PRAGMA synchronous = FULL")  # an intention must be on disk before the money can leave
    cursor.execute("PRAGMA foreign_keys = ON")  # off by default
    cursor.close()


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: a transaction that reads first and writes later could fail half-way.
    reading_only = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading_only else "BEGIN IMMEDIATE")
