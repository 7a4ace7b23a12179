"""The tables of the first release, and those that came between releases: one row for each output."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables, which a cache of the first release has."""
    op.create_table(
        "streams",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("teacher_id", sa.String(200), nullable=False),
        sa.Column("output_kind", sa.String(1000), nullable=False),
        sa.UniqueConstraint("teacher_id", "output_kind"),
    )
    op.create_table(
        "purchases",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("stream_id", sa.Integer, sa.ForeignKey("streams.id"), nullable=False),
        sa.Column("idempotency_key", sa.String(64), nullable=False, unique=True),
        sa.Column("payer", sa.String(16), nullable=False),
        sa.Column("sample_keys", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("finished_at", sa.Float(53)),
    )
    is_open = sa.text("status = 'open'")
    op.create_index("open_purchases", "purchases", ["stream_id"], sqlite_where=is_open, postgresql_where=is_open)
    op.create_table(
        "outputs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("stream_id", sa.Integer, sa.ForeignKey("streams.id"), nullable=False),
        sa.Column("sample_key", sa.LargeBinary, nullable=False),
        sa.Column("purchase_id", sa.Integer, sa.ForeignKey("purchases.id"), nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("stream_id", "sample_key"),
    )
