"""The tables of the production database: predictions, outcomes and workers.

Moments without a zone are in the time of the feed, as event times are; `Utc` is the machine's clock. Changed
here, the tables need a migration: a test compares the two.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, Dialect, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
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


class Base(MappedAsDataclass, DeclarativeBase):
    """What all tables share: how types of Python are stored."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
    }


class LoggedPrediction(Base):
    """A row that was predicted.

    `inputs` are its other fields, as they were sent. The model that was shown is `version`; `other_version`
    predicted too, unseen, in the role of challenger, champion, shadow or previous.
    """

    __tablename__ = "predictions"
    __table_args__ = (Index("predictions_by_event_time", "event_time"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    made_at: Mapped[datetime] = mapped_column(Utc)
    client: Mapped[str] = mapped_column(String(100))
    event_time: Mapped[datetime]
    inputs: Mapped[dict[str, Any]]
    prediction: Mapped[float]
    variant: Mapped[str] = mapped_column(String(20))
    version: Mapped[int]
    deployment: Mapped[str] = mapped_column(String(36))
    other_prediction: Mapped[float | None] = mapped_column(default=None)
    other_version: Mapped[int | None] = mapped_column(default=None)
    other_role: Mapped[str | None] = mapped_column(String(20), default=None)


class Outcome(Base):
    """What became known of an event time."""

    __tablename__ = "outcomes"

    event_time: Mapped[datetime] = mapped_column(primary_key=True)
    label: Mapped[float]
    received_at: Mapped[datetime] = mapped_column(Utc)
    revised_at: Mapped[datetime | None] = mapped_column(Utc, default=None)


class Worker(Base):
    """A process that serves, and what it serves. No version: it has none yet."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    environment: Mapped[str] = mapped_column(String(50))
    version: Mapped[int | None]
    deployment: Mapped[str | None] = mapped_column(String(36))
    other_version: Mapped[int | None]
    seen_at: Mapped[datetime] = mapped_column(Utc)
