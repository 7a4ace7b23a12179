"""The tables of the first release: keys, queries, answers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("quota", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("reserved", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("revoked_at", sa.Float(53)),
        sa.CheckConstraint("used >= 0 AND reserved >= 0 AND used + reserved <= quota", name="never_over_admitted"),
    )
    op.create_table(
        "queries",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(32), sa.ForeignKey("api_keys.id"), nullable=False),
        sa.Column("model_name", sa.String(64), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("payload_sha256", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("instance_id", sa.String(32), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("finished_at", sa.Float(53)),
        sa.CheckConstraint("status IN ('held', 'settled', 'released')", name="known_status"),
        sa.CheckConstraint("samples > 0", name="charges_something"),
        sqlite_autoincrement=True,
    )
    held = sa.text("status = 'held'")
    op.create_index("queries_by_key", "queries", ["key_id", "id"])
    op.create_index("held_queries", "queries", ["instance_id"], sqlite_where=held, postgresql_where=held)
    op.create_table(
        "answers",
        sa.Column("key_id", sa.String(32), sa.ForeignKey("api_keys.id"), primary_key=True),
        sa.Column("idempotency_key", sa.String(255), primary_key=True),
        sa.Column("payload_sha256", sa.String(64), nullable=False),
        sa.Column("query_id", _ID, sa.ForeignKey("queries.id"), nullable=False, unique=True),
        sa.Column("content", sa.LargeBinary),
        sa.Column("header_length", sa.Integer),
    )
