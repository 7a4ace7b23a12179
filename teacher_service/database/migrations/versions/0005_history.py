"""Grants that can be repeated; indexes by which the log is read a page at a time, whatever is asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column, and the indexes."""
    op.add_column("grants", sa.Column("reference", sa.String(255)))
    referred_to = sa.text("reference IS NOT NULL")
    op.create_index(
        "grants_by_reference",
        "grants",
        ["key_id", "reference"],
        unique=True,
        sqlite_where=referred_to,
        postgresql_where=referred_to,
    )
    op.drop_index("queries_by_key", "queries")
    op.create_index("queries_by_key", "queries", ["key_id", "status", "created_at", "id"])
    op.create_index("queries_by_status", "queries", ["status", "created_at", "id"])
    op.create_index("daily_usage_by_day", "daily_usage", ["day"])
