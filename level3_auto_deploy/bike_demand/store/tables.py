"""The tables, as the newest migration leaves them."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)
from sqlalchemy.types import TypeDecorator

REVISION = "0001"  # of the newest migration


class Utc(TypeDecorator[datetime]):
    """A moment in UTC: aware in Python, without a zone in the database, as sqlite knows none."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData()

# One row for each row that was predicted. `inputs` are its other fields, as they were sent. The model that
# was shown is `version`; `other` predicted too, unseen, as challenger, champion, shadow or previous.
predictions = Table(
    "predictions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("made_at", Utc, nullable=False),
    Column("client", String(100), nullable=False),
    Column("event_time", DateTime, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("prediction", Float, nullable=False),
    Column("variant", String(20), nullable=False),
    Column("version", Integer, nullable=False),
    Column("deployment", String(64), nullable=False),
    Column("other_prediction", Float),
    Column("other_version", Integer),
    Column("other_role", String(20)),
    Index("predictions_by_event_time", "event_time"),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("event_time", DateTime, primary_key=True),
    Column("label", Float, nullable=False),
    Column("received_at", Utc, nullable=False),
    Column("revised_at", Utc),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("environment", String(50), nullable=False),
    Column("version", Integer),
    Column("deployment", String(64)),
    Column("other_version", Integer),
    Column("seen_at", Utc, nullable=False),
)
