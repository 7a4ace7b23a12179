"""Paid responses as they arrived."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table. Answers that came before were not kept."""
    op.create_table(
        "raw_answers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("purchase_id", sa.Integer, sa.ForeignKey("purchases.id"), nullable=False),
        sa.Column("asked_of", sa.String(200), nullable=False),
        sa.Column("answered_by", sa.String(200), nullable=False),
        sa.Column("headers", sa.String, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("reason", sa.String(1000)),
        sa.Column("received_at", sa.Float(53), nullable=False),
    )
    is_unread = sa.text("status = 'unread'")
    op.create_index("unread_purchases", "purchases", ["stream_id"], sqlite_where=is_unread, postgresql_where=is_unread)
    op.create_index("raw_answers_by_purchase", "raw_answers", ["purchase_id"])
