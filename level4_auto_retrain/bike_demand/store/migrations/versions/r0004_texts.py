"""The expected values of text fields."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; it is empty until the next monitoring cycle."""
    op.add_column("expected_ranges", sa.Column("texts", sa.JSON))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("expected_ranges", "texts")
