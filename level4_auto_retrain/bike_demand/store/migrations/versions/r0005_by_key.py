"""The expected values of numbers by key."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; until the next monitoring cycle all keys share their means."""
    op.add_column("expected_ranges", sa.Column("by_key", sa.JSON))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("expected_ranges", "by_key")
