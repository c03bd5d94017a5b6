"""The tables of the production database: predictions, outcomes, workers, deployments.

Timestamps without a zone are in the feed's time, like event times; `Utc` is the machine's clock. A change
here needs a migration: a test compares the two.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, Dialect, Enum, ForeignKey, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
from sqlalchemy.types import TypeDecorator
from uuid_utils import uuid7

REVISION = "0001"  # the newest migration


class Utc(TypeDecorator[datetime]):
    """A timestamp in UTC: aware in Python, without a zone in the database, because SQLite has none."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class State(StrEnum):
    """The state of a deployment; `store.deployments` has the transitions between them."""

    CREATED = "created"
    VALIDATING = "validating"  # running its gates
    FAILED_GATE = "failed_gate"
    QUEUED = "queued"  # waits for the end of another test or watch
    TESTING = "testing"  # the challenger of an A/B test
    FAILED_TEST = "failed_test"
    LIVE = "live"  # the champion; watched until `bake_until`
    RETIRED = "retired"  # was live, and may be again
    ROLLED_BACK = "rolled_back"  # was live, and must not be again
    SUPERSEDED = "superseded"  # ended without a verdict
    ERROR = "error"  # its version was deleted


def _by_value(kind: type[StrEnum]) -> Enum:
    """A column type that stores an enumeration by its values, not its names."""
    return Enum(kind, native_enum=False, length=20, values_callable=lambda kinds: list(map(str, kinds)))


class Base(MappedAsDataclass, DeclarativeBase):
    """Base class of all tables: maps Python types to columns."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        State: _by_value(State),
        dict[str, Any]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
    }


class LoggedPrediction(Base):
    """A predicted row.

    `inputs` are its validated fields without the event time. `version` is the model whose prediction was
    shown; `other_version` predicted too, unseen, with the role challenger, champion, shadow or previous.
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
    """The label of an event time and key (empty if the problem has no keys)."""

    __tablename__ = "outcomes"

    event_time: Mapped[datetime] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    label: Mapped[float]
    received_at: Mapped[datetime] = mapped_column(Utc)
    revised_at: Mapped[datetime | None] = mapped_column(Utc, default=None)


class Worker(Base):
    """A process that serves, and the version it serves, if any."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    environment: Mapped[str] = mapped_column(String(50))
    version: Mapped[int | None]
    deployment: Mapped[str | None] = mapped_column(String(36))
    other_version: Mapped[int | None]
    seen_at: Mapped[datetime] = mapped_column(Utc)


class Deployment(Base):
    """One deployment of a version, from the request to the final state.

    `against`: the version it is compared with: the champion during gates and test, the previous champion
    after that. `reason`: of its last transition, whose id is `moved`. `skip_reason`: why a person skipped the
    A/B test. `gates` has the result of each gate, `test` is an `ABTest`, `ab` and `watch` are `Evidence`.
    """

    __tablename__ = "deployments"

    version: Mapped[int]
    run_id: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    who: Mapped[str] = mapped_column(String(100))
    requested_at: Mapped[datetime]
    changed_at: Mapped[datetime]  # start of its current state
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
        """Whether the previous version predicts too, unseen."""
        return self.state is State.LIVE and None not in (self.bake_until, self.against)

    def is_of(self, version: Any) -> bool:
        """Whether it deploys this version; another registry may use the same number for another one."""
        return bool((self.version, self.run_id) == (version.number, version.run_id))


class Transition(Base):
    """A change of a deployment's state, with the alias changes that it implies: {alias: [from, to]}.

    Until it is `applied`, aliases may still be at `from`.
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
