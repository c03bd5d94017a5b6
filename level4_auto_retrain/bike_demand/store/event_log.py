"""The event log of the loop: signals, incidents, alerts, actions, regression cases, and what it publishes.

Times are in the time of the feed, but for when an alert was delivered.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic_core import to_jsonable_python
from sqlalchemy import ColumnElement, Connection, Table, func, insert, select, text, update

from bike_demand.store import loop_tables as tables
from bike_demand.store.database import Database, upsert

JSON = Any  # what JSON can hold
TRAIN, ROLL_BACK, LIVE = "train", "roll back", "live"  # kinds of action
BEGUN, DONE, FAILED = "begun", "done", "failed"  # their states
DATA = "data"  # the kind of regression case


class Kind(StrEnum):
    """What a signal is about; each kind has its own response."""

    QUALITY = "data-quality"  # never train on it
    DRIFT = "input-drift"  # report only
    ERROR = "error-drift"  # train
    RELEASE = "bad-release"  # roll back
    NO_MODEL = "no-model"  # train the first one
    AGE = "age"  # train
    LOOP = "loop"  # the loop itself fails


@dataclass(frozen=True)
class Signal:
    """Something that needs attention. `says` is one sentence with numbers in it.

    `subject` is what it is about: a field, "feed", "version 7". `at` is when it was detected.
    """

    kind: Kind
    subject: str
    at: datetime
    says: str
    evidence: dict[str, JSON]


@dataclass(frozen=True)
class Raised:
    """A stored signal. It is open until `ended_at`; None: it still is."""

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
    """What a monitoring cycle did to the signals: those that are new, that go on, and that just ended."""

    new: tuple[Raised, ...]
    going_on: tuple[Raised, ...]
    ended: tuple[Raised, ...]

    @property
    def open(self) -> tuple[Raised, ...]:
        """All open signals, oldest first."""
        return tuple(sorted((*self.going_on, *self.new), key=lambda each: each.id))


@dataclass(frozen=True)
class Incident:
    """What went wrong: since when, when and by what it was noticed, what was done, and what it cost.

    `done` holds {"at", "what"}; `cost` is known at the end; `regression_case` is an id.
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
    regression_case: int | None

    def as_json(self) -> dict[str, JSON]:
        """All of it as JSON has it."""
        found: dict[str, JSON] = to_jsonable_python(vars(self))
        return found


@dataclass(frozen=True)
class Alert:
    """A message to people. `body`: happened, evidence, done, you_may.

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
    """What the loop began, and its outcome. `signal` is the id of the one that it responds to."""

    id: int
    kind: str
    signal: int | None
    reason: str
    at: datetime
    state: str
    version: int | None
    detail: dict[str, JSON]


@dataclass(frozen=True)
class RegressionCase:
    """Bad data that got through once. `content` is what `data` makes of it: the case and its rows."""

    id: int
    incident: int
    kind: str
    content: dict[str, JSON]


@dataclass(frozen=True)
class Fact:
    """What the loop published for the status document, as known at `as_of`."""

    name: str
    content: JSON
    as_of: datetime


# ---- signals


def raise_signals(database: Database, signals: Iterable[Signal], now: datetime) -> Change:
    """Store the signals of a cycle: one open row per kind and subject; those that are not among them end.

    Of several with the same kind and subject the first counts. Raises UnreachableError.
    """
    table = tables.signals
    seen: dict[tuple[Kind, str], Signal] = {}
    for signal in signals:
        seen.setdefault((signal.kind, signal.subject), signal)
    new, going_on, ended = [], [], []
    with _changing(database, table) as connection:
        rows = [_raised(row) for row in _rows(connection, table, table.c.ended_at.is_(None))]
        known = {(each.kind, each.subject): each for each in rows}
        for key, signal in seen.items():
            values = {"last_at": signal.at, "says": signal.says, "evidence": signal.evidence}
            if key in known:
                _update(connection, table, known[key].id, **values)
                going_on.append(replace(known[key], **values))  # type: ignore[arg-type]
            else:
                first = {"kind": str(signal.kind), "subject": signal.subject, "first_at": signal.at}
                new.append(_raised(_insert(connection, table, **first, **values, ended_at=None)))
        for key, row in known.items():
            if key not in seen:
                _update(connection, table, row.id, ended_at=now)
                ended.append(replace(row, ended_at=now))
    return Change(tuple(new), tuple(going_on), tuple(ended))


def open_signals(database: Database) -> list[Raised]:
    """The signals that go on, oldest first."""
    return [each for each in signals(database) if each.ended_at is None]


def signals(database: Database) -> list[Raised]:
    """All signals there ever were, oldest first."""
    with database.reading() as connection:
        return [_raised(row) for row in _rows(connection, tables.signals)]


def _raised(row: Mapping[str, Any]) -> Raised:
    return Raised(**{**row, "kind": Kind(row["kind"])})


# ---- incidents


def open_incident(
    database: Database, kind: Kind, subject: str, *, since: datetime, noticed_at: datetime, noticed_by: str
) -> Incident:
    """The open incident of this kind and subject; a new one where there is none."""
    table = tables.incidents
    with _changing(database, table) as connection:
        same = (table.c.kind == str(kind), table.c.subject == subject, table.c.ended_at.is_(None))
        if found := _rows(connection, table, *same):
            return _incident(found[0])
        values = {"since": since, "noticed_at": noticed_at, "noticed_by": noticed_by, "done": []}
        ends: dict[str, Any] = {"ended_at": None, "cost": None, "regression_case": None}
        return _incident(_insert(connection, table, kind=str(kind), subject=subject, **values, **ends))


def note_done(database: Database, incident: int, at: datetime, what: str) -> None:
    """Add what was done about an incident; the same is not added twice."""
    table = tables.incidents
    with _changing(database, table) as connection:
        done = list(connection.scalar(select(table.c.done).where(table.c.id == incident)) or [])
        if all(each["what"] != what for each in done):
            _update(connection, table, incident, done=[*done, {"at": at.isoformat(), "what": what}])


def end_incident(database: Database, incident: int, at: datetime, cost: Mapping[str, JSON]) -> None:
    """Close an incident, with what it cost."""
    with database.writing() as connection:
        _update(connection, tables.incidents, incident, ended_at=at, cost=dict(cost))


def incidents(database: Database, *, only_open: bool = False) -> list[Incident]:
    """All incidents, or those that are open, oldest first."""
    with database.reading() as connection:
        found = [_incident(row) for row in _rows(connection, tables.incidents)]
    return [each for each in found if each.ended_at is None] if only_open else found


def _incident(row: Mapping[str, Any]) -> Incident:
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
    """Store an alert for delivery by these channels; None: its key was alerted after `quiet_since`."""
    table = tables.alerts
    alert = Alert(str(uuid.uuid4()), key, at, title, dict(body), dict.fromkeys(channels))
    with _changing(database, table) as connection:
        if any(_rows(connection, table, table.c.key == key, table.c.at > quiet_since)):
            return None
        connection.execute(insert(table), [vars(alert)])
    return alert


def undelivered(database: Database, limit: int = 1000) -> list[Alert]:
    """The alerts that are still to go out by some channel, oldest first."""
    found = alerts(database, limit)[::-1]
    return [each for each in found if any(map(each.is_outstanding, each.delivered))]


def delivered(database: Database, alert: str, channel: str) -> None:
    """Store that it went out by this channel, now."""
    _set_delivery(database, alert, channel, datetime.now(UTC).isoformat())


def not_delivered(database: Database, alert: str, channel: str, reason: str, final: bool) -> None:
    """Store that an attempt by this channel failed; where that is final, there is no other."""
    _set_delivery(database, alert, channel, {"reason": reason, "final": final})


def delivery_failures(database: Database, limit: int = 1000) -> list[dict[str, JSON]]:
    """What did not go out, newest first: {"id", "at", "title", "channel", "reason", "final"} each."""
    not_tried = {"reason": "not tried yet", "final": False}
    return [
        {"id": each.id, "at": each.at.isoformat(), "title": each.title, "channel": channel}
        | (state or not_tried)
        for each in alerts(database, limit)
        for channel, state in each.delivered.items()
        if not isinstance(state, str)
    ]


def alerts(database: Database, limit: int = 50) -> list[Alert]:
    """The latest alerts, newest first."""
    table = tables.alerts
    statement = select(table).order_by(table.c.at.desc(), table.c.id).limit(limit)
    with database.reading() as connection:
        return [Alert(**row) for row in connection.execute(statement).mappings()]


def count_alerts(database: Database) -> int:
    """How many alerts there ever were."""
    with database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(tables.alerts)) or 0


def _set_delivery(database: Database, alert: str, channel: str, state: JSON) -> None:
    table = tables.alerts
    with _changing(database, table) as connection:
        known = connection.scalar(select(table.c.delivered).where(table.c.id == alert)) or {}
        _update(connection, table, alert, delivered={**known, channel: state})


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
    """Store that an action begins. One of its kind that has not ended is returned instead."""
    table = tables.actions
    with _changing(database, table) as connection:
        begun = _rows(connection, table, table.c.kind == kind, table.c.state == BEGUN)
        values = {"kind": kind, "signal": signal, "reason": reason, "at": at, "detail": dict(detail or {})}
        if begun:
            return Action(**begun[0])
        return Action(**_insert(connection, table, **values, state=BEGUN, version=None))


def write_action(
    database: Database,
    action: int,
    *,
    state: str | None = None,
    version: int | None = None,
    detail: Mapping[str, JSON] | None = None,
) -> None:
    """Store the outcome of an action so far; what is not given stays as it is, `detail` is added to."""
    table = tables.actions
    with _changing(database, table) as connection:
        known = connection.scalar(select(table.c.detail).where(table.c.id == action)) or {}
        given = {"state": state, "version": version}
        values = {name: value for name, value in given.items() if value is not None}
        _update(connection, table, action, detail={**known, **(detail or {})}, **values)


def under_way(database: Database) -> list[Action]:
    """The actions that were begun and did not end, oldest first."""
    return [each for each in actions(database) if each.state == BEGUN]


def actions(database: Database, kind: str | None = None) -> list[Action]:
    """The actions of a kind (None: of all kinds), oldest first."""
    with database.reading() as connection:
        found = [Action(**row) for row in _rows(connection, tables.actions)]
    return [each for each in found if kind in (None, each.kind)]


# ---- regression cases


def add_regression_case(database: Database, incident: int, kind: str, content: Mapping[str, JSON]) -> int:
    """Keep the case of an incident for good; its id. An incident has at most one of a kind."""
    table = tables.regression_cases
    with _changing(database, table) as connection:
        for known in _rows(connection, table, table.c.incident == incident, table.c.kind == kind):
            return int(known["id"])
        row = _insert(connection, table, incident=incident, kind=kind, content=dict(content))
        _update(connection, tables.incidents, incident, regression_case=row["id"])
        return int(row["id"])


def regression_cases(database: Database) -> list[RegressionCase]:
    """All regression cases, oldest first."""
    with database.reading() as connection:
        return [RegressionCase(**row) for row in _rows(connection, tables.regression_cases)]


# ---- what is published for the status document


def publish(database: Database, contents: Mapping[str, JSON], as_of: datetime) -> None:
    """Store these facts by name, in the place of what was published by these names before."""
    rows = [{"name": name, "content": content, "as_of": as_of} for name, content in contents.items()]
    with database.writing() as connection:
        upsert(database, connection, tables.facts, rows)


def published(database: Database) -> dict[str, Fact]:
    """All facts, by name."""
    with database.reading() as connection:
        rows = connection.execute(select(tables.facts)).mappings().all()
    return {row["name"]: Fact(**row) for row in rows}


# ---- all of them


@contextmanager
def _changing(database: Database, table: Table) -> Iterator[Connection]:
    """A transaction that reads rows before it writes them: two of them take turns, as sqlite's do anyhow."""
    with database.writing() as connection:
        if database.engine.dialect.name == "postgresql":
            connection.execute(text(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE"))
        yield connection


def _rows(connection: Connection, table: Table, *where: ColumnElement[bool]) -> list[dict[str, Any]]:
    found = connection.execute(select(table).where(*where).order_by(table.c.id)).mappings()
    return [dict(row) for row in found]


def _insert(connection: Connection, table: Table, **values: Any) -> dict[str, Any]:
    """The row as it was inserted, with its new id."""
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert key is not None
    return {"id": key[0], **values}


def _update(connection: Connection, table: Table, row: int | str, **values: Any) -> None:
    connection.execute(update(table).where(table.c.id == row).values(**values))
