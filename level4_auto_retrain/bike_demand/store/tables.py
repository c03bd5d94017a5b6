"""The tables of the production database: predictions, outcomes, workers, deployments, and the loop's.

Timestamps without a zone are feed time, like event times; `Utc` is the machine's clock. A change
here needs a migration: a test compares the two.
"""

from dataclasses import fields
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import WithJsonSchema, create_model
from pydantic_core import core_schema
from sqlalchemy import JSON, DateTime, Dialect, Enum, ForeignKey, Index, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
from sqlalchemy.types import TypeDecorator
from uuid_utils import uuid7

from bike_demand.core.problem import LOCAL_TIME

REVISION = "0002"  # the newest migration

# A timestamp without a zone, as the documentation of the API describes it.
FeedTime = Annotated[datetime, WithJsonSchema({"type": "string", "pattern": f"{LOCAL_TIME}$"})]


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


class SignalKind(StrEnum):
    """The kind of a signal; each has its own response.

    In the order in which the loop responds and the dashboard shows them: a bad champion explains many others.
    """

    BAD_RELEASE = "bad-release"  # roll back
    NO_MODEL = "no-model"  # restore the last good version, or train one
    LOOP = "loop"  # the loop itself fails
    QUALITY = "data-quality"  # never train on it
    ERROR = "error-drift"  # train
    AGE = "age"  # train
    DRIFT = "input-drift"  # report only


PRIORITY = tuple(SignalKind)


def _by_value(kind: type[StrEnum]) -> Enum:
    """A column type that stores an enumeration by its values, not its names."""
    return Enum(kind, native_enum=False, length=20, values_callable=lambda kinds: list(map(str, kinds)))


class Base(MappedAsDataclass, DeclarativeBase):
    """Base class of all tables: maps Python types to columns."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        State: _by_value(State),
        SignalKind: _by_value(SignalKind),
        list[float]: JSON,
        list[str]: JSON(none_as_null=True),
        dict[str, Any]: JSON(none_as_null=True),
        dict[str, list[float]]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
    }

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> core_schema.CoreSchema:
        """So that StatusDocument can contain rows: an object with one key per column."""
        kinds: dict[Any, Any] = {datetime: FeedTime, datetime | None: FeedTime | None}
        utc = [each.name for each in cls.__table__.columns if isinstance(each.type, Utc)]
        names = {
            each.name: (each.type if each.name in utc else kinds.get(each.type, each.type), ...)
            for each in fields(cls)
        }
        parsed = create_model(cls.__name__, **names)  # type: ignore[call-overload]
        return core_schema.json_or_python_schema(
            json_schema=parsed.__pydantic_core_schema__,
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda row: {name: getattr(row, name) for name in names}
            ),
        )


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
    # Implausible fields, each with the value that the models received instead.
    replaced: Mapped[dict[str, Any] | None] = mapped_column(default=None)


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
    `policy` is the promotion policy at the time of its gates.
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
    policy: Mapped[dict[str, Any] | None] = mapped_column(default=None)
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


def _partial_unique_index(name: str, where: str, *columns: str) -> Index:
    """A unique index on these columns, limited to rows that satisfy the condition."""
    condition = text(where)
    return Index(name, *columns, unique=True, sqlite_where=condition, postgresql_where=condition)


class Signal(Base):
    """A signal: one open row per kind and subject, updated while it goes on, then closed by `ended_at`."""

    __tablename__ = "signals"
    __table_args__ = (_partial_unique_index("signals_open", "ended_at IS NULL", "kind", "subject"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    kind: Mapped[SignalKind]
    subject: Mapped[str] = mapped_column(String(100))
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    message: Mapped[str]
    evidence: Mapped[dict[str, Any]]
    ended_at: Mapped[datetime | None] = mapped_column(default=None)


class Incident(Base):
    """An incident: start, detection, response and cost.

    `responses` holds {"at", "response"}; `cost` is known at the end; `regression_case` is an id.
    """

    __tablename__ = "incidents"
    __table_args__ = (_partial_unique_index("incidents_open", "ended_at IS NULL", "kind", "subject"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    kind: Mapped[SignalKind]
    subject: Mapped[str] = mapped_column(String(100))
    since: Mapped[datetime]
    detected_at: Mapped[datetime]
    description: Mapped[str]
    responses: Mapped[list[dict[str, Any]]] = mapped_column(default_factory=list)
    ended_at: Mapped[datetime | None] = mapped_column(default=None)
    cost: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    regression_case: Mapped[int | None] = mapped_column(default=None)


class Alert(Base):
    """A message to people. `body`: summary, evidence, response, suggestion.

    `delivered`, by channel: the delivery time (wall time, ISO 8601); None: not tried yet; {"reason"}: the
    last attempt failed.
    """

    __tablename__ = "alerts"
    __table_args__ = (Index("alerts_by_key", "key", "at"),)

    key: Mapped[str] = mapped_column(String(200))
    at: Mapped[datetime]
    title: Mapped[str]
    body: Mapped[dict[str, Any]]
    delivered: Mapped[dict[str, Any]]
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default_factory=lambda: str(uuid7()))

    def is_outstanding(self, channel: str) -> bool:
        """Whether this channel still has to deliver it."""
        return not isinstance(self.delivered.get(channel, ""), str)


class Training(Base):
    """A training by the loop, and its result. `signal` is the id of the signal that it responds to.

    Written before the work begins, so that the loop can resume it after a kill.
    """

    __tablename__ = "trainings"
    __table_args__ = (_partial_unique_index("trainings_begun", "state = 'begun'", "state"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    signal: Mapped[int | None]
    reason: Mapped[str]
    at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(10))
    version: Mapped[int | None] = mapped_column(default=None)
    detail: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)


class RegressionCase(Base):
    """Bad data of a past incident. `content` is a serialized `RegressionCaseContent`, with its rows."""

    __tablename__ = "regression_cases"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    incident: Mapped[int] = mapped_column(ForeignKey("incidents.id"))
    content: Mapped[dict[str, Any]]


class ExpectedRange(Base):
    """The newest expected range of a field, in its unit: `low` to `high`, and the mean at each hour of day.

    Text fields have their expected values in `texts`, the most frequent one first, and a range of 0. A field
    with an expected range is expected to have a value: fields that are often null have none.
    """

    __tablename__ = "expected_ranges"

    field: Mapped[str] = mapped_column(String(50), primary_key=True)
    low: Mapped[float]
    high: Mapped[float]
    by_hour: Mapped[list[float]]  # 24, by the hour of the day
    as_of: Mapped[datetime]
    texts: Mapped[list[str] | None] = mapped_column(default=None)
    by_key: Mapped[dict[str, list[float]] | None] = mapped_column(default=None)  # `by_hour` for each key


class StatusField(Base):
    """A field published for the status document, as known at `as_of`. Only the newest is kept."""

    __tablename__ = "status_fields"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    content: Mapped[Any] = mapped_column(JSON)
    as_of: Mapped[datetime]


class DailyStats(Base):
    """One day of one version, or of all together (`version` 0), counting the first shown prediction for each
    row. Columns that end in `_sum` are sums over rows.

    `rows` were predicted; the label of `known` of them is known. For `baseline_rows` of those the baseline is
    known too: its error is `baseline_error_sum`, the model's on the same rows `paired_error_sum`.
    `quality`: number of rows that violated a rule, {field: {rule: rows}}; rules that the feed violated begin
    with "feed ".
    """

    __tablename__ = "daily_stats"

    day: Mapped[date] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rows: Mapped[int]
    known: Mapped[int]
    error_sum: Mapped[float]
    bias_sum: Mapped[float]
    target_sum: Mapped[float]
    baseline_rows: Mapped[int]
    baseline_error_sum: Mapped[float]
    paired_error_sum: Mapped[float]
    quality: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)


class DriftReport(Base):
    """The result of the drift tests, with the time of the feed at which they ran."""

    __tablename__ = "drift"

    at: Mapped[datetime] = mapped_column(primary_key=True)
    content: Mapped[dict[str, Any]]
