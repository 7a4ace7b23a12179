"""The ledger's tables, in SQL that SQLite and PostgreSQL both speak. Times are seconds since the epoch, UTC."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)

from teacher_service.database import query_facts

metadata = MetaData()

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
"""`revision` counts the changes of secret and terms; `in_flight` counts the queries that hold samples."""

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
"""The grants of each key: its quota is their sum. Rows are added, never changed.

`reference` is the client's name for the grant; a repeated grant has the same reference.
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
    *query_facts.columns(),
    Column("status", String(10), nullable=False),
    Column("instance_id", String(32), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("finished_at", Float(53)),
    Column("answer_sha256", String(64)),
    CheckConstraint("status IN ('held', 'settled', 'released')", name="known_status"),
    CheckConstraint("samples > 0", name="charges_something"),
    sqlite_autoincrement=True,
)
"""One row for each query. Only status, finished_at and answer_sha256 change, once."""
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

`content` is NULL while the request is in flight, and again after the answer has expired. `kept_until` is NULL while the
request is in flight, or if the answer never expires.
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
"""The events of each query, chained by their hashes (see `ledger/hash_chain.py`). Rows are added, never changed."""

chain_head = Table(
    "chain_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
)
"""One row: the last event of the chain."""

daily_usage = Table(
    "daily_usage",
    metadata,
    Column("key_id", ForeignKey("api_keys.id"), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("queries", BigInteger, nullable=False),
    Column("samples", BigInteger, nullable=False),
)
"""What each key was charged for on each day, in days since the epoch, UTC."""
Index("daily_usage_by_day", daily_usage.c.day)
