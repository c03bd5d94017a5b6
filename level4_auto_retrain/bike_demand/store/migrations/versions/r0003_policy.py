"""The promotion policy snapshot of each deployment."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; earlier deployments have no snapshot."""
    op.add_column("deployments", sa.Column("policy", sa.JSON))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("deployments", "policy")
