"""Keys that may see intermediate features."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table, unless a version between releases did."""
    op.create_table(
        "feature_keys",
        sa.Column("key_id", sa.String(32), sa.ForeignKey("api_keys.id"), primary_key=True),
        if_not_exists=True,
    )
