"""The tables of the loop, replaced values of predictions, and the policy of deployments."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

OPEN = sa.text("ended_at IS NULL")
BEGUN = sa.text("state = 'begun'")
TABLES = (
    "drift",
    "daily_stats",
    "status_fields",
    "expected_ranges",
    "regression_cases",
    "trainings",
    "alerts",
    "incidents",
    "signals",
)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "signals",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("subject", sa.String(100), nullable=False),
        sa.Column("first_at", sa.DateTime, nullable=False),
        sa.Column("last_at", sa.DateTime, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("ended_at", sa.DateTime),
    )
    op.create_index(
        "signals_open", "signals", ["kind", "subject"], unique=True, sqlite_where=OPEN, postgresql_where=OPEN
    )
    op.create_table(
        "incidents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("subject", sa.String(100), nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("detected_at", sa.DateTime, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("responses", sa.JSON, nullable=False),
        sa.Column("ended_at", sa.DateTime),
        sa.Column("cost", sa.JSON),
        sa.Column("regression_case", sa.Integer),
    )
    op.create_index(
        "incidents_open",
        "incidents",
        ["kind", "subject"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("delivered", sa.JSON, nullable=False),
    )
    op.create_index("alerts_by_key", "alerts", ["key", "at"])
    op.create_table(
        "trainings",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("signal", sa.Integer),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index(
        "trainings_begun", "trainings", ["state"], unique=True, sqlite_where=BEGUN, postgresql_where=BEGUN
    )
    op.create_table(
        "regression_cases",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("incident", sa.Integer, sa.ForeignKey("incidents.id"), nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
    )
    op.create_table(
        "expected_ranges",
        sa.Column("field", sa.String(50), primary_key=True),
        sa.Column("low", sa.Float, nullable=False),
        sa.Column("high", sa.Float, nullable=False),
        sa.Column("by_hour", sa.JSON, nullable=False),
        sa.Column("as_of", sa.DateTime, nullable=False),
        sa.Column("texts", sa.JSON),
        sa.Column("by_key", sa.JSON),
    )
    op.create_table(
        "status_fields",
        sa.Column("name", sa.String(50), primary_key=True),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("as_of", sa.DateTime, nullable=False),
    )
    op.add_column("predictions", sa.Column("replaced", sa.JSON))
    op.add_column("deployments", sa.Column("policy", sa.JSON))
    op.create_table(
        "daily_stats",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("known", sa.Integer, nullable=False),
        sa.Column("error_sum", sa.Float, nullable=False),
        sa.Column("bias_sum", sa.Float, nullable=False),
        sa.Column("target_sum", sa.Float, nullable=False),
        sa.Column("baseline_rows", sa.Integer, nullable=False),
        sa.Column("baseline_error_sum", sa.Float, nullable=False),
        sa.Column("paired_error_sum", sa.Float, nullable=False),
        sa.Column("quality", sa.JSON, nullable=False),
    )
    op.create_table(
        "drift", sa.Column("at", sa.DateTime, primary_key=True), sa.Column("content", sa.JSON, nullable=False)
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_column("deployments", "policy")
    op.drop_column("predictions", "replaced")
    for name in TABLES:
        op.drop_table(name)
