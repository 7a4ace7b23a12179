"""The names of each teacher's classes, which say what its outputs mean."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "class_names",
        sa.Column("teacher_id", sa.String(200), primary_key=True),
        sa.Column("names", sa.String, nullable=False),
    )
