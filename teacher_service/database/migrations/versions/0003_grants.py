"""The history of each key's quota."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table; what a key was made with is its first grant."""
    op.create_table(
        "grants",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("key_id", sa.String(32), sa.ForeignKey("api_keys.id"), nullable=False),
        sa.Column("samples", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.CheckConstraint("samples > 0", name="grants_something"),
        sqlite_autoincrement=True,
    )
    op.create_index("grants_by_key", "grants", ["key_id", "id"])
    op.execute(
        "INSERT INTO grants (key_id, samples, reason, created_at) "
        "SELECT id, quota, 'created', created_at FROM api_keys WHERE quota > 0 ORDER BY created_at, id"
    )
