"""What the loop saw, did and told: signals, incidents, alerts, actions and lessons.

Moments are in the time of the feed, but for when an alert was delivered.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select, text, update

from bike_demand.prediction_log import loop_tables as tables
from bike_demand.prediction_log.database import Database

JSON = Any  # what JSON can hold
TRAIN, TAKE_BACK, LIVE = "train", "take back", "live"  # kinds of action
BEGUN, DONE, FAILED = "begun", "done", "failed"  # their states
DATA = "data"  # the kind of lesson


class Kind(StrEnum):
    """What a signal is about; each kind has its own action."""

    QUALITY = "data-quality"  # never train on it
    DRIFT = "input-drift"  # report only
    ERROR = "error-drift"  # train
    RELEASE = "bad-release"  # take back
    NO_MODEL = "no-model"  # train the first one
    AGE = "age"  # train
    LOOP = "loop"  # the loop itself fails


@dataclass(frozen=True)
class Signal:
    """Something that is not as it should be. `says` is one sentence with numbers in it.

    `subject` is what it is about: a field, "feed", "version 7". `at` is when it was seen.
    """

    kind: Kind
    subject: str
    at: datetime
    says: str
    evidence: dict[str, JSON]


@dataclass(frozen=True)
class Raised:
    """A signal as it is kept. It goes on until `ended_at`; None: it still does."""

    id: int
    kind: Kind
    subject: str
    first_at: datetime
    last_at: datetime
    says: str
    evidence: dict[str, JSON]
    ended_at: datetime | None


@dataclass(frozen=True)
class Change:
    """What became of the signals at a look: those that are new, that go on, and that have just ended."""

    new: tuple[Raised, ...]
    going_on: tuple[Raised, ...]
    ended: tuple[Raised, ...]

    @property
    def open(self) -> tuple[Raised, ...]:
        """All that are not over, oldest first."""
        return tuple(sorted((*self.going_on, *self.new), key=lambda each: each.id))


@dataclass(frozen=True)
class Incident:
    """What went wrong: since when, when and by what it was noticed, what was done, and what it cost.

    `done` holds {"at", "what"}; `cost` is known at the end; `lesson` is the id of the check that came of it.
    """

    id: int
    kind: Kind
    subject: str
    since: datetime
    noticed_at: datetime
    noticed_by: str
    done: list[dict[str, str]]
    ended_at: datetime | None
    cost: dict[str, JSON] | None
    lesson: int | None


@dataclass(frozen=True)
class Alert:
    """What people were told. `body`: happened, evidence, done, you_may.

    `delivered`, by channel: when it went out (wall time, ISO 8601); None: not tried yet; {"reason", "final"}:
    the last attempt failed, for good if `final`.
    """

    id: str
    key: str
    at: datetime
    title: str
    body: dict[str, JSON]
    delivered: dict[str, JSON]

    def is_outstanding(self, channel: str) -> bool:
        """Whether it is still to go out by this channel."""
        state = self.delivered.get(channel, "")
        return state is None or (isinstance(state, dict) and not state["final"])


@dataclass(frozen=True)
class Action:
    """What the loop began, and what came of it. `signal` is the id of the one that it answers."""

    id: int
    kind: str
    signal: int | None
    reason: str
    at: datetime
    state: str
    version: int | None
    detail: dict[str, JSON]


@dataclass(frozen=True)
class Lesson:
    """A case that got through once. What `content` holds is known to who runs it."""

    id: int
    incident: int
    kind: str
    content: dict[str, JSON]


# ---- signals


def raise_signals(database: Database, signals: Iterable[Signal], now: datetime) -> Change:
    """Keep what was seen at this look: one open row for each kind and subject; what is not seen ends.

    Of several with the same kind and subject the first counts. Raises UnreachableError.
    """
    table = tables.signals
    seen: dict[tuple[Kind, str], Signal] = {}
    for signal in signals:
        seen.setdefault((signal.kind, signal.subject), signal)
    new, going_on, ended = [], [], []
    with database.writing() as connection:
        _alone(database, connection, table.name)
        known = {(each.kind, each.subject): each for each in _open_signals(connection)}
        for key, signal in seen.items():
            values = {"last_at": signal.at, "says": signal.says, "evidence": signal.evidence}
            if key in known:
                row = known[key]
                connection.execute(update(table).where(table.c.id == row.id).values(values))
                going_on.append(Raised(**{**vars(row), **values}))
            else:
                values |= {"kind": str(signal.kind), "subject": signal.subject, "first_at": signal.at}
                number = _inserted(connection, table, values)
                new.append(_raised({**values, "id": number, "ended_at": None}))
        for key, row in known.items():
            if key not in seen:
                connection.execute(update(table).where(table.c.id == row.id).values(ended_at=now))
                ended.append(Raised(**{**vars(row), "ended_at": now}))
    return Change(tuple(new), tuple(going_on), tuple(ended))


def open_signals(database: Database) -> list[Raised]:
    """The signals that go on, oldest first."""
    with database.reading() as connection:
        return _open_signals(connection)


def signals(database: Database, since: datetime | None = None) -> list[Raised]:
    """All signals that were open at `since` or began later, oldest first; None: all there ever were."""
    table = tables.signals
    statement = select(table).order_by(table.c.id)
    if since is not None:
        statement = statement.where(table.c.ended_at.is_(None) | (table.c.ended_at >= since))
    with database.reading() as connection:
        return [_raised(row) for row in connection.execute(statement).mappings()]


def _open_signals(connection: Connection) -> list[Raised]:
    table = tables.signals
    statement = select(table).where(table.c.ended_at.is_(None)).order_by(table.c.id)
    return [_raised(row) for row in connection.execute(statement).mappings()]


def _raised(row: Any) -> Raised:
    return Raised(**{**row, "kind": Kind(row["kind"])})


# ---- incidents


def open_incident(
    database: Database, kind: Kind, subject: str, *, since: datetime, noticed_at: datetime, noticed_by: str
) -> Incident:
    """The incident of this kind and subject that is under way; a new one where there is none."""
    table = tables.incidents
    with database.writing() as connection:
        _alone(database, connection, table.name)
        found = (
            connection.execute(
                select(table).where(
                    table.c.kind == str(kind), table.c.subject == subject, table.c.ended_at.is_(None)
                )
            )
            .mappings()
            .one_or_none()
        )
        if found is not None:
            return _incident(found)
        values = {
            "kind": str(kind),
            "subject": subject,
            "since": since,
            "noticed_at": noticed_at,
            "noticed_by": noticed_by,
            "done": [],
        }
        number = _inserted(connection, table, values)
        return _incident({**values, "id": number, "ended_at": None, "cost": None, "lesson": None})


def note_done(database: Database, incident: int, at: datetime, what: str) -> None:
    """Add what was done about an incident; the same is not added twice."""
    table = tables.incidents
    with database.writing() as connection:
        _alone(database, connection, table.name)
        done = list(connection.scalar(select(table.c.done).where(table.c.id == incident)) or [])
        if any(each["what"] == what for each in done):
            return
        done.append({"at": at.isoformat(), "what": what})
        connection.execute(update(table).where(table.c.id == incident).values(done=done))


def end_incident(database: Database, incident: int, at: datetime, cost: Mapping[str, JSON]) -> None:
    """It is over, and this is what it cost."""
    table = tables.incidents
    with database.writing() as connection:
        connection.execute(update(table).where(table.c.id == incident).values(ended_at=at, cost=dict(cost)))


def incidents(
    database: Database, since: datetime | None = None, *, only_open: bool = False
) -> list[Incident]:
    """The incidents that were under way at `since` or began later, oldest first; None: all there were."""
    table = tables.incidents
    statement = select(table).order_by(table.c.id)
    if only_open:
        statement = statement.where(table.c.ended_at.is_(None))
    if since is not None:
        statement = statement.where(table.c.ended_at.is_(None) | (table.c.ended_at >= since))
    with database.reading() as connection:
        return [_incident(row) for row in connection.execute(statement).mappings()]


def _incident(row: Any) -> Incident:
    return Incident(**{**row, "kind": Kind(row["kind"])})


# ---- alerts


def put_alert(
    database: Database,
    *,
    key: str,
    at: datetime,
    quiet_since: datetime,
    title: str,
    body: Mapping[str, JSON],
    channels: Sequence[str],
) -> Alert | None:
    """Keep an alert that is to go out by these channels; None: its key was alerted after `quiet_since`."""
    table = tables.alerts
    alert = Alert(str(uuid.uuid4()), key, at, title, dict(body), dict.fromkeys(channels))
    with database.writing() as connection:
        _alone(database, connection, table.name)
        told = select(table.c.id).where(table.c.key == key, table.c.at > quiet_since).limit(1)
        if connection.scalar(told) is not None:
            return None
        connection.execute(insert(table), [vars(alert)])
    return alert


def undelivered(database: Database, limit: int = 1000) -> list[Alert]:
    """The alerts that are still to go out by some channel, oldest first."""
    found = _alerts(database, limit)[::-1]
    return [each for each in found if any(map(each.is_outstanding, each.delivered))]


def delivered(database: Database, alert: str, channel: str) -> None:
    """It went out by this channel, now."""
    _set_delivery(database, alert, channel, datetime.now(UTC).isoformat())


def not_delivered(database: Database, alert: str, channel: str, reason: str, final: bool) -> None:
    """An attempt by this channel failed; where that is final, there is no other."""
    _set_delivery(database, alert, channel, {"reason": reason, "final": final})


def delivery_failures(database: Database, limit: int = 1000) -> list[dict[str, JSON]]:
    """What did not go out, newest first: {"id", "at", "title", "channel", "reason", "final"} each."""
    not_tried = {"reason": "not tried yet", "final": False}
    return [
        {"id": each.id, "at": each.at.isoformat(), "title": each.title, "channel": channel}
        | (state or not_tried)
        for each in _alerts(database, limit)
        for channel, state in each.delivered.items()
        if not isinstance(state, str)
    ]


def _set_delivery(database: Database, alert: str, channel: str, state: JSON) -> None:
    table = tables.alerts
    with database.writing() as connection:
        _alone(database, connection, table.name)
        known = dict(connection.scalar(select(table.c.delivered).where(table.c.id == alert)) or {})
        connection.execute(
            update(table).where(table.c.id == alert).values(delivered={**known, channel: state})
        )


def alerts(database: Database, limit: int = 50) -> list[Alert]:
    """The latest alerts, newest first."""
    return _alerts(database, limit)


def count_alerts(database: Database) -> int:
    """How many alerts there ever were."""
    with database.reading() as connection:
        return len(connection.execute(select(tables.alerts.c.id)).all())


def _alerts(database: Database, limit: int) -> list[Alert]:
    table = tables.alerts
    statement = select(table).order_by(table.c.at.desc(), table.c.id).limit(limit)
    with database.reading() as connection:
        return [Alert(**row) for row in connection.execute(statement).mappings()]


# ---- actions


def begin(
    database: Database,
    kind: str,
    *,
    reason: str,
    at: datetime,
    signal: int | None = None,
    detail: Mapping[str, JSON] | None = None,
) -> Action:
    """Write down that an action begins. One of its kind that has not ended is given back instead."""
    table = tables.actions
    with database.writing() as connection:
        _alone(database, connection, table.name)
        under_way = select(table).where(table.c.kind == kind, table.c.state == BEGUN)
        found = connection.execute(under_way).mappings().one_or_none()
        if found is not None:
            return Action(**found)
        values: dict[str, Any] = {
            "kind": kind,
            "signal": signal,
            "reason": reason,
            "at": at,
            "state": BEGUN,
            "version": None,
            "detail": dict(detail or {}),
        }
        return Action(**{**values, "id": _inserted(connection, table, values)})


def write_action(
    database: Database,
    action: int,
    *,
    state: str | None = None,
    version: int | None = None,
    detail: Mapping[str, JSON] | None = None,
) -> None:
    """Keep what came of an action so far; what is not given stays as it is, `detail` is added to."""
    table = tables.actions
    with database.writing() as connection:
        _alone(database, connection, table.name)
        known = dict(connection.scalar(select(table.c.detail).where(table.c.id == action)) or {})
        values: dict[str, Any] = {"detail": known | dict(detail or {})}
        if state is not None:
            values["state"] = state
        if version is not None:
            values["version"] = version
        connection.execute(update(table).where(table.c.id == action).values(values))


def under_way(database: Database) -> list[Action]:
    """The actions that were begun and did not end, oldest first."""
    return [each for each in actions(database) if each.state == BEGUN]


def actions(database: Database, kind: str | None = None, since: datetime | None = None) -> list[Action]:
    """The actions of a kind since a time (None: of all kinds, of all times), oldest first."""
    table = tables.actions
    statement = select(table).order_by(table.c.id)
    if kind is not None:
        statement = statement.where(table.c.kind == kind)
    if since is not None:
        statement = statement.where(table.c.at >= since)
    with database.reading() as connection:
        return [Action(**row) for row in connection.execute(statement).mappings()]


# ---- lessons


def add_lesson(database: Database, incident: int, kind: str, content: Mapping[str, JSON]) -> int:
    """Keep the case of an incident for good; its id. An incident has at most one lesson of a kind."""
    with database.writing() as connection:
        _alone(database, connection, tables.lessons.name)
        table = tables.lessons
        known = select(table.c.id).where(table.c.incident == incident, table.c.kind == kind)
        found: int | None = connection.scalar(known)
        if found is not None:
            return found
        values = {"incident": incident, "kind": kind, "content": dict(content)}
        number = _inserted(connection, table, values)
        connection.execute(
            update(tables.incidents).where(tables.incidents.c.id == incident).values(lesson=number)
        )
        return number


def lessons(database: Database, kind: str | None = None) -> list[Lesson]:
    """The lessons of a kind (None: all), oldest first."""
    table = tables.lessons
    statement = select(table).order_by(table.c.id)
    if kind is not None:
        statement = statement.where(table.c.kind == kind)
    with database.reading() as connection:
        return [Lesson(**row) for row in connection.execute(statement).mappings()]


# ---- all of them


def _inserted(connection: Connection, table: Any, values: Mapping[str, Any]) -> int:
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _alone(database: Database, connection: Connection, table: str) -> None:
    """Two who look at the same row and then write take turns; in sqlite they do so anyhow."""
    if database.engine.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
