"""Predictions, outcomes and workers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("made_at", sa.DateTime, nullable=False),
        sa.Column("client", sa.String(100), nullable=False),
        sa.Column("event_time", sa.DateTime, nullable=False),
        sa.Column("inputs", sa.JSON, nullable=False),
        sa.Column("prediction", sa.Float, nullable=False),
        sa.Column("variant", sa.String(20), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("deployment", sa.String(36), nullable=False),
        sa.Column("other_prediction", sa.Float),
        sa.Column("other_version", sa.Integer),
        sa.Column("other_role", sa.String(20)),
    )
    op.create_index("predictions_by_event_time", "predictions", ["event_time"])
    op.create_table(
        "outcomes",
        sa.Column("event_time", sa.DateTime, primary_key=True),
        sa.Column("label", sa.Float, nullable=False),
        sa.Column("received_at", sa.DateTime, nullable=False),
        sa.Column("revised_at", sa.DateTime),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("environment", sa.String(50), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("deployment", sa.String(36)),
        sa.Column("other_version", sa.Integer),
        sa.Column("seen_at", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("workers", "outcomes", "predictions"):
        op.drop_table(name)
