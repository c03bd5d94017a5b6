"""The loop's event log: signals, incidents, alerts, trainings, regression cases, and status fields.

Times are feed time, except delivery times of alerts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import select

from bike_demand.store.database import Database
from bike_demand.store.tables import (
    Alert,
    Incident,
    RegressionCase,
    Signal,
    SignalKind,
    StatusField,
    Training,
)

JSON = Any  # a JSON value
BEGUN, DONE, FAILED = "begun", "done", "failed"  # states of trainings
LEVEL_SHIFT = "level_shift"  # first day of one: key in a signal's evidence and a training's detail
NOT_WORSE = "not_worse"  # key in a training's detail: whether its version was shown not to be worse
NOT_EVALUATED = "not_evaluated_since"  # key in the evidence of an error signal: too little is known since
INGESTION = "ingestion"  # subject of the signal for a feed that cannot be ingested
OUTCOMES = "outcomes"  # subject of the signal for outcomes that no longer arrive


@dataclass(frozen=True)
class SignalChanges:
    """The effect of a monitoring cycle on the signals: all open ones, oldest first, new and ended ones."""

    open: list[Signal]
    new: list[Signal]
    ended: list[Signal]


# ---- signals


def update_signals(database: Database, signals: Iterable[Signal], now: datetime) -> SignalChanges:
    """Store the signals of a cycle: one open row per kind and subject; open rows without a signal end.

    Of several signals with the same kind and subject, the first counts. Raises UnreachableError.
    """
    seen: dict[tuple[SignalKind, str], Signal] = {}
    for signal in signals:
        seen.setdefault((signal.kind, signal.subject), signal)
    new, ongoing, ended = [], [], []
    with database.writing(Signal) as session:
        rows = session.scalars(select(Signal).where(Signal.ended_at.is_(None)).order_by(Signal.id))
        known = {(each.kind, each.subject): each for each in rows}
        for key, signal in seen.items():
            if (row := known.get(key)) is not None:
                row.last_at, row.message, row.evidence = now, signal.message, signal.evidence
                ongoing.append(row)
            else:
                session.add(signal)
                session.flush()
                new.append(signal)
        for key, row in known.items():
            if key not in seen:
                row.ended_at = now
                ended.append(row)
    return SignalChanges(sorted(ongoing, key=lambda each: each.id) + new, new, ended)


def open_signals(database: Database) -> list[Signal]:
    """The open signals, oldest first."""
    rows = select(Signal).where(Signal.ended_at.is_(None)).order_by(Signal.id)
    return database.all(rows)


# ---- incidents


def open_incident(
    database: Database,
    kind: SignalKind,
    subject: str,
    *,
    since: datetime,
    detected_at: datetime,
    description: str,
) -> Incident:
    """The open incident of this kind and subject, created if there is none."""
    same = select(Incident).filter_by(kind=kind, subject=subject, ended_at=None)
    with database.writing(Incident) as session:
        incident = session.scalar(same)
        if incident is None:
            incident = Incident(kind, subject, since, detected_at, description)
            session.add(incident)
    return incident


def record_response(database: Database, incident: int, at: datetime, response: str) -> None:
    """Record a response to an incident, once. It replaces an earlier one with the same first sentence."""
    with database.writing(Incident) as session:
        found = session.get_one(Incident, incident)
        if all(each["response"] != response for each in found.responses):
            first = response.partition(". ")[0]
            kept = [each for each in found.responses if each["response"].partition(". ")[0] != first]
            found.responses = [*kept, {"at": at.isoformat(), "response": response}]


def end_incident(database: Database, incident: int, at: datetime, cost: Mapping[str, JSON]) -> None:
    """Close an incident, with its cost."""
    with database.writing(Incident) as session:
        found = session.get_one(Incident, incident)
        found.ended_at, found.cost = at, dict(cost)


def incidents(database: Database, *, only_open: bool = False) -> list[Incident]:
    """All incidents, or only open ones, oldest first."""
    rows = select(Incident).order_by(Incident.id)
    return database.all(rows.where(Incident.ended_at.is_(None)) if only_open else rows)


# ---- alerts


def store_alert(database: Database, alert: Alert, quiet_since: datetime) -> bool:
    """Store an alert, unless its key was alerted after `quiet_since`. Returns whether it was stored.

    Later alerts do not count: they were raised by another clock.
    """
    same = select(Alert).where(Alert.key == alert.key, Alert.at > quiet_since, Alert.at <= alert.at).limit(1)
    with database.writing(Alert) as session:
        is_new = session.scalar(same) is None
        if is_new:
            session.add(alert)
    return is_new


def outstanding_alerts(database: Database) -> list[Alert]:
    """The alerts that some channel has not accepted yet, oldest first."""
    found = alerts(database, 100)[::-1]
    return [each for each in found if any(map(each.is_outstanding, each.delivered))]


def record_attempt(database: Database, alert: str, channel: str, failure: str | None) -> None:
    """Store that a channel accepted an alert, or why it did not."""
    with database.writing(Alert) as session:
        found = session.get_one(Alert, alert)
        state = {"reason": failure} if failure else datetime.now(UTC).isoformat()
        found.delivered = {**found.delivered, channel: state}


def delivery_failures(database: Database, limit: int = 1000) -> list[dict[str, JSON]]:
    """Undelivered alerts, newest first: {"id", "at", "title", "channel", "reason"} each."""
    not_tried = {"reason": "not tried yet"}
    return [
        {"id": each.id, "at": each.at.isoformat(), "title": each.title, "channel": channel}
        | (state or not_tried)
        for each in alerts(database, limit)
        for channel, state in each.delivered.items()
        if not isinstance(state, str)
    ]


def alerts(database: Database, limit: int = 50) -> list[Alert]:
    """The latest alerts, newest first."""
    return database.all(select(Alert).order_by(Alert.at.desc(), Alert.id).limit(limit))


# ---- trainings


def begin_training(
    database: Database,
    *,
    reason: str,
    at: datetime,
    signal: int | None = None,
    detail: Mapping[str, JSON] | None = None,
) -> Training:
    """Store that a training begins. Returns the open one instead, if there is one."""
    with database.writing(Training) as session:
        training = session.scalar(select(Training).filter_by(state=BEGUN))
        if training is None:
            training = Training(signal, reason, at, BEGUN, detail=dict(detail or {}))
            session.add(training)
    return training


def update_training(
    database: Database,
    training: int,
    *,
    state: str | None = None,
    version: int | None = None,
    detail: Mapping[str, JSON] | None = None,
) -> None:
    """Update a training: fields that are not given stay as they are, `detail` is merged."""
    with database.writing(Training) as session:
        found = session.get_one(Training, training)
        found.state, found.version = state or found.state, version or found.version
        found.detail = {**found.detail, **(detail or {})}


def open_trainings(database: Database) -> list[Training]:
    """The open trainings, oldest first."""
    return database.all(select(Training).filter_by(state=BEGUN).order_by(Training.id))


def trainings(database: Database) -> list[Training]:
    """All trainings, oldest first."""
    return database.all(select(Training).order_by(Training.id))


def level_shifts(database: Database) -> tuple[date, ...]:
    """The first days of the level shifts that led to trainings, ascending."""
    found = {each.detail[LEVEL_SHIFT] for each in trainings(database) if LEVEL_SHIFT in each.detail}
    return tuple(date.fromisoformat(each) for each in sorted(found))


# ---- regression cases


def add_regression_case(database: Database, incident: int, content: Mapping[str, JSON]) -> int:
    """Store an incident's case, in the place of an earlier one. Returns its id."""
    with database.writing(RegressionCase) as session:
        case = session.scalar(select(RegressionCase).filter_by(incident=incident))
        if case is None:
            case = RegressionCase(incident, {})
            session.add(case)
            session.flush()
            session.get_one(Incident, incident).regression_case = case.id
        case.content = dict(content)
    return case.id


def withdraw_regression_case(database: Database, incident: int) -> bool:
    """Delete the case of an incident that was a false alarm. Returns whether there was one."""
    with database.writing(RegressionCase) as session:
        case = session.scalar(select(RegressionCase).filter_by(incident=incident))
        if case is not None:
            session.get_one(Incident, incident).regression_case = None
            session.delete(case)
    return case is not None


def regression_cases(database: Database) -> list[RegressionCase]:
    """All regression cases, oldest first."""
    return database.all(select(RegressionCase).order_by(RegressionCase.id))


# ---- fields of the status document


def publish_fields(database: Database, contents: Mapping[str, JSON], as_of: datetime) -> None:
    """Store these fields by name, replacing earlier ones."""
    with database.writing(StatusField) as session:
        for name, content in contents.items():
            session.merge(StatusField(name, content, as_of))


def published_fields(database: Database) -> dict[str, StatusField]:
    """All published fields, by name."""
    return {each.name: each for each in database.all(select(StatusField))}
