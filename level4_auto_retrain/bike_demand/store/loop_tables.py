"""The tables of the loop that watches, trains and rolls back, as the newest migration leaves them.

Moments without a zone are in the time of the feed, as event times are; `Utc` is the machine's clock.
"""

from sqlalchemy import JSON, Column, Date, DateTime, Float, ForeignKey, Index, Integer, String, Table, text

from bike_demand.store.tables import metadata

# What is not as it should be: one open row for each kind and subject, updated while it goes on.
signals = Table(
    "signals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("subject", String(100), nullable=False),
    Column("first_at", DateTime, nullable=False),
    Column("last_at", DateTime, nullable=False),
    Column("says", String, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("ended_at", DateTime),
    Index(
        "signals_open",
        "kind",
        "subject",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

# What went wrong, what was done about it, and what it cost.
incidents = Table(
    "incidents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("subject", String(100), nullable=False),
    Column("since", DateTime, nullable=False),
    Column("noticed_at", DateTime, nullable=False),
    Column("noticed_by", String, nullable=False),
    Column("done", JSON, nullable=False),
    Column("ended_at", DateTime),
    Column("cost", JSON),
    Column("regression_case", Integer),
    Index(
        "incidents_open",
        "kind",
        "subject",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

# What people were told. `delivered`: by channel, when (wall time, ISO 8601); null: it is still to go out;
# {"reason", "final"}: the last attempt failed.
alerts = Table(
    "alerts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("key", String(200), nullable=False),
    Column("at", DateTime, nullable=False),
    Column("title", String, nullable=False),
    Column("body", JSON, nullable=False),
    Column("delivered", JSON, nullable=False),
    Index("alerts_by_key", "key", "at"),
)

# What the loop did. Written before the work begins, so that a loop that was killed goes on where it was.
actions = Table(
    "actions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("signal", Integer),
    Column("reason", String, nullable=False),
    Column("at", DateTime, nullable=False),
    Column("state", String(10), nullable=False),
    Column("version", Integer),
    Column("detail", JSON, nullable=False),
    Index(
        "actions_begun",
        "kind",
        unique=True,
        sqlite_where=text("state = 'begun'"),
        postgresql_where=text("state = 'begun'"),
    ),
)

# Cases that got through once: each later validation or deployment is tried on them.
regression_cases = Table(
    "regression_cases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident", Integer, ForeignKey("incidents.id"), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("content", JSON, nullable=False),
)

# The expected range of each field: the newest only.
expected_ranges = Table(
    "expected_ranges",
    metadata,
    Column("field", String(50), primary_key=True),
    Column("low", Float, nullable=False),
    Column("high", Float, nullable=False),
    Column("by_hour", JSON, nullable=False),
    Column("as_of", DateTime, nullable=False),
)

# What the loop publishes for the status document, by name: the newest only.
facts = Table(
    "facts",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("content", JSON, nullable=False),
    Column("as_of", DateTime, nullable=False),
)

# What was predicted in each day, and how well: by version, and (version 0) all together. Sums.
days = Table(
    "days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("rows", Integer, nullable=False),
    Column("known", Integer, nullable=False),
    Column("error", Float, nullable=False),
    Column("bias", Float, nullable=False),
    Column("target", Float, nullable=False),
    Column("baseline_rows", Integer, nullable=False),
    Column("baseline_error", Float, nullable=False),
    Column("paired_error", Float, nullable=False),
    Column("predictions", JSON, nullable=False),
    Column("features", JSON, nullable=False),
    Column("quality", JSON, nullable=False),
)

# What the drift tests found, by the time of the feed at which they ran.
drift = Table(
    "drift",
    metadata,
    Column("at", DateTime, primary_key=True),
    Column("content", JSON, nullable=False),
)
