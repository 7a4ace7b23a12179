"""The log as a chain, terms and burst limits of keys, usage by day, and answers that are kept for a time."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_ZERO = sa.text("0")
_ROWS = 1000

_GENESIS = bytes(32)
_ADMITTED = "admitted"
_FACTS = (
    "request_id",
    "key_id",
    "model_name",
    "model_version",
    "samples",
    "payload_sha256",
    "idempotency_key",
    "outputs",
    "instance_id",
)


def upgrade() -> None:
    """Add the columns and tables; chain, count and sum what the log holds already."""
    for column in (
        sa.Column("revision", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("holder", sa.String(200), nullable=False, server_default=sa.text("''")),
        sa.Column("outputs", sa.String(500), nullable=False, server_default=sa.text("'logits'")),
        sa.Column("expires_at", sa.Float(53)),
        sa.Column("requests_per_minute", sa.BigInteger),
        sa.Column("samples_per_minute", sa.BigInteger),
        sa.Column("max_concurrent", sa.BigInteger),
        sa.Column("in_flight", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("requests_debt", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("requests_debt_at_ms", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("samples_debt", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("samples_debt_at_ms", sa.BigInteger, nullable=False, server_default=_ZERO),
    ):
        op.add_column("api_keys", column)
    op.execute("UPDATE api_keys SET outputs = 'logits,features' WHERE id IN (SELECT key_id FROM feature_keys)")
    op.drop_table("feature_keys")
    op.execute(
        "UPDATE api_keys SET in_flight = "
        "(SELECT COUNT(*) FROM queries WHERE queries.key_id = api_keys.id AND queries.status = 'held')"
    )
    op.add_column("queries", sa.Column("outputs", sa.String(500)))
    op.add_column("queries", sa.Column("answer_sha256", sa.String(64)))
    op.add_column("answers", sa.Column("kept_until", sa.Float(53)))
    kept = sa.text("content IS NOT NULL")
    op.create_index("answers_by_end", "answers", ["kept_until"], sqlite_where=kept, postgresql_where=kept)
    events = op.create_table(
        "query_events",
        sa.Column("sequence", _ID, primary_key=True, autoincrement=False),
        sa.Column("query_id", _ID, sa.ForeignKey("queries.id"), nullable=False),
        sa.Column("event", sa.String(10), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
    )
    head = op.create_table(
        "chain_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
    )
    sequence, digest = _chain(events)
    op.bulk_insert(head, [{"id": 1, "sequence": sequence, "sha256": digest}])
    op.create_table(
        "daily_usage",
        sa.Column("key_id", sa.String(32), sa.ForeignKey("api_keys.id"), primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("queries", sa.BigInteger, nullable=False),
        sa.Column("samples", sa.BigInteger, nullable=False),
    )
    day = "CAST(FLOOR(finished_at / 86400) AS INTEGER)"
    if op.get_bind().dialect.name == "sqlite":
        day = "CAST(finished_at / 86400 AS INTEGER)"
    op.execute(
        f"INSERT INTO daily_usage (key_id, day, queries, samples) SELECT key_id, {day}, COUNT(*), SUM(samples) "  # noqa: S608 - constant
        f"FROM queries WHERE status = 'settled' GROUP BY key_id, {day}"
    )


def _chain(events: sa.Table) -> tuple[int, bytes]:
    """Chain the queries of before the chain, in the order in which they were admitted; the last entry."""
    connection = op.get_bind()
    sequence, digest, last_id = 0, _GENESIS, 0
    batch = sa.text("SELECT * FROM queries WHERE id > :last_id ORDER BY id LIMIT :rows")
    while rows := connection.execute(batch, {"last_id": last_id, "rows": _ROWS}).mappings().all():
        entries = []
        for row in rows:
            happened = [(_ADMITTED, row["created_at"])]
            if row["finished_at"] is not None:
                happened.append((row["status"], row["finished_at"]))
            for event, at in happened:
                sequence += 1
                digest = _link(digest, sequence, event, at, row["id"], dict(row))
                entries.append(
                    {"sequence": sequence, "query_id": row["id"], "event": event, "at": at, "sha256": digest}
                )
            last_id = row["id"]
        connection.execute(events.insert(), entries)
    return sequence, digest


def _link(previous: bytes, sequence: int, event: str, at: float, query_id: int, facts: Mapping[str, Any]) -> bytes:
    """The SHA-256 of an entry, as this version of the ledger computes it."""
    covered = _FACTS if event == _ADMITTED else ("answer_sha256",)
    entry = [sequence, event, float(at), query_id, *(facts.get(fact) for fact in covered)]
    return sha256(previous + json.dumps(entry, separators=(",", ":")).encode()).digest()
