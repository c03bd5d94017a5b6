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
        sa.Column("hour", sa.DateTime, nullable=False),
        sa.Column("holiday", sa.Integer, nullable=False),
        sa.Column("workingday", sa.Integer, nullable=False),
        sa.Column("weather", sa.Integer, nullable=False),
        sa.Column("temp_c", sa.Float, nullable=False),
        sa.Column("feels_like_c", sa.Float, nullable=False),
        sa.Column("humidity", sa.Float),
        sa.Column("windspeed_kmh", sa.Float, nullable=False),
        sa.Column("prediction", sa.Float, nullable=False),
        sa.Column("variant", sa.String(20), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("other_prediction", sa.Float),
        sa.Column("other_version", sa.Integer),
        sa.Column("other_role", sa.String(20)),
    )
    op.create_index("predictions_by_hour", "predictions", ["hour"])
    op.create_table(
        "outcomes",
        sa.Column("hour", sa.DateTime, primary_key=True),
        sa.Column(
            "count", sa.Integer, sa.CheckConstraint("count >= 0", name="count_not_negative"), nullable=False
        ),
        sa.Column("received_at", sa.DateTime, nullable=False),
        sa.Column("revised_at", sa.DateTime),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("environment", sa.String(50), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("deployment", sa.String(64)),
        sa.Column("other_version", sa.Integer),
        sa.Column("seen_at", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("workers", "outcomes", "predictions"):
        op.drop_table(name)
