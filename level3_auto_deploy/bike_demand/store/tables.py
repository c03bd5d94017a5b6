"""The tables of the production database: predictions, outcomes, workers, deployments.

Moments without a zone are in the time of the feed, as event times are; `Utc` is the machine's clock. Changed
here, the tables need a migration: a test compares the two.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, Dialect, Enum, ForeignKey, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
from sqlalchemy.types import TypeDecorator
from uuid_utils import uuid7

REVISION = "0001"  # of the newest migration


class Utc(TypeDecorator[datetime]):
    """A moment in UTC: aware in Python, without a zone in the database, as sqlite knows none."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class State(StrEnum):
    """Where a deployment stands: see the diagram in docs/architecture.md."""

    CREATED = "created"
    VALIDATING = "validating"  # in the gates
    FAILED_GATE = "failed_gate"
    QUEUED = "queued"  # waits until another test, or the watch of a promotion, ends
    TESTING = "testing"  # the challenger of an A/B test
    FAILED_TEST = "failed_test"
    LIVE = "live"  # the champion; until `bake_until` it is watched
    RETIRED = "retired"  # was live; may be again
    ROLLED_BACK = "rolled_back"  # was live, and not again
    SUPERSEDED = "superseded"  # ended without a verdict
    ERROR = "error"  # its version is gone


class Base(MappedAsDataclass, DeclarativeBase):
    """What all tables share: how types of Python are stored."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        State: Enum(
            State, native_enum=False, length=20, values_callable=lambda states: list(map(str, states))
        ),
        dict[str, Any]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
    }


class LoggedPrediction(Base):
    """A row that was predicted.

    `inputs` are its other fields, as they were sent. The model that was shown is `version`; `other_version`
    predicted too, unseen, in the role of challenger, champion, shadow or previous.
    """

    __tablename__ = "predictions"
    __table_args__ = (Index("predictions_by_event_time", "event_time", "key"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    made_at: Mapped[datetime] = mapped_column(Utc)
    client: Mapped[str] = mapped_column(String(100))
    event_time: Mapped[datetime]
    key: Mapped[str] = mapped_column(String(200))
    inputs: Mapped[dict[str, Any]]
    prediction: Mapped[float]
    variant: Mapped[str] = mapped_column(String(20))
    version: Mapped[int]
    deployment: Mapped[str] = mapped_column(String(36))
    other_prediction: Mapped[float | None] = mapped_column(default=None)
    other_version: Mapped[int | None] = mapped_column(default=None)
    other_role: Mapped[str | None] = mapped_column(String(20), default=None)


class Outcome(Base):
    """What became known of an event time and key (empty where the problem has none)."""

    __tablename__ = "outcomes"

    event_time: Mapped[datetime] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
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


class Deployment(Base):
    """One deployment of a version, from the request for it to whatever became of it.

    `against`: the version that it is compared with, which is the champion of its gates and of its test, then
    the champion before it. `reason`: of its last transition, whose id is `moved`. `skip_reason`: why a person
    skipped the A/B test. `gates` has the result of each gate, `test` is an `ABTest`, `ab` and `watch` are
    `Evidence`.
    """

    __tablename__ = "deployments"

    version: Mapped[int]
    run_id: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    who: Mapped[str] = mapped_column(String(100))
    requested_at: Mapped[datetime]
    changed_at: Mapped[datetime]  # since when it has its state
    skip_reason: Mapped[str | None] = mapped_column(default=None)
    against: Mapped[int | None] = mapped_column(default=None)
    state: Mapped[State] = mapped_column(default=State.CREATED)
    reason: Mapped[str] = mapped_column(default="")
    moved: Mapped[int | None] = mapped_column(default=None)
    bake_until: Mapped[datetime | None] = mapped_column(default=None)
    gates: Mapped[list[dict[str, Any]]] = mapped_column(default_factory=list)
    test: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    ab: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    watch: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    began_at: Mapped[datetime] = mapped_column(Utc, default_factory=lambda: datetime.now(UTC))
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default_factory=lambda: str(uuid7()))

    @property
    def is_watched(self) -> bool:
        """Whether the version before predicts as well, unseen."""
        return self.state is State.LIVE and None not in (self.bake_until, self.against)

    def is_of(self, version: Any) -> bool:
        """Whether it deploys this version; another registry may have another one of that number."""
        return bool((self.version, self.run_id) == (version.number, version.run_id))


class Transition(Base):
    """A change of a deployment's state, and the aliases that move for it: {alias: [from, to]}.

    While it is not `applied`, aliases may still be where they were.
    """

    __tablename__ = "transitions"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    deployment: Mapped[str] = mapped_column(ForeignKey("deployments.id"))
    old: Mapped[State]
    new: Mapped[State]
    at: Mapped[datetime]
    reason: Mapped[str]
    aliases: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    applied: Mapped[bool] = mapped_column(default=False)
    made_at: Mapped[datetime] = mapped_column(Utc, default_factory=lambda: datetime.now(UTC))
