"""Predictions, outcomes, workers, deployments and their transitions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("made_at", sa.DateTime, nullable=False),
        sa.Column("client", sa.String(100), nullable=False),
        sa.Column("event_time", sa.DateTime, nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("inputs", sa.JSON, nullable=False),
        sa.Column("prediction", sa.Float, nullable=False),
        sa.Column("variant", sa.String(20), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("deployment", sa.String(36), nullable=False),
        sa.Column("other_prediction", sa.Float),
        sa.Column("other_version", sa.Integer),
        sa.Column("other_role", sa.String(20)),
    )
    op.create_index("predictions_by_event_time", "predictions", ["event_time", "key"])
    op.create_table(
        "outcomes",
        sa.Column("event_time", sa.DateTime, primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
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
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("who", sa.String(100), nullable=False),
        sa.Column("requested_at", sa.DateTime, nullable=False),
        sa.Column("against", sa.Integer),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("changed_at", sa.DateTime, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("moved", sa.Integer),
        sa.Column("skip_reason", sa.String),
        sa.Column("bake_until", sa.DateTime),
        sa.Column("gates", sa.JSON, nullable=False),
        sa.Column("test", sa.JSON),
        sa.Column("ab", sa.JSON),
        sa.Column("watch", sa.JSON),
        sa.Column("began_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "transitions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("deployment", sa.String(36), sa.ForeignKey("deployments.id"), nullable=False),
        sa.Column("old", sa.String(20), nullable=False),
        sa.Column("new", sa.String(20), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("aliases", sa.JSON, nullable=False),
        sa.Column("applied", sa.Boolean, nullable=False),
        sa.Column("made_at", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("transitions", "deployments", "workers", "outcomes", "predictions"):
        op.drop_table(name)
