"""The promotion policy as it was, with each deployment."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; what was decided before has no policy on record."""
    op.add_column("deployments", sa.Column("policy", sa.JSON))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("deployments", "policy")
