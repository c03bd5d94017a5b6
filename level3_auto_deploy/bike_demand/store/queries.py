"""Reads the prediction log: single predictions, pairs for an A/B test, and workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Row, RowMapping, and_, func, or_, select

from bike_demand.store import tables
from bike_demand.store.database import Database

predictions, outcomes = tables.predictions, tables.outcomes


Logged: TypeAlias = Row[Any]  # a row of `tables.predictions`, with its columns as attributes


@dataclass(frozen=True)
class Pair:
    """What two versions predicted for one event time, and its label. `variant` is whose was shown."""

    time: datetime
    variant: str
    prediction: float
    other: float
    label: float


@dataclass(frozen=True)
class Worker:
    """A process that answers, and with what. No version: it has none yet."""

    id: str
    environment: str
    version: int | None
    deployment: str | None
    other_version: int | None
    seen_at: datetime


def find(database: Database, prediction_id: str) -> Logged | None:
    """The answer of that id; None where there is none."""
    with database.reading() as connection:
        return connection.execute(select(predictions).where(predictions.c.id == prediction_id)).one_or_none()


def outcome(database: Database, event_time: datetime) -> float | None:
    """The label of that event time; None while it is not known."""
    with database.reading() as connection:
        found: float | None = connection.scalar(
            select(outcomes.c.label).where(outcomes.c.event_time == event_time)
        )
        return found


def pairs(database: Database, version: int, other: int, since: datetime, until: datetime) -> list[Pair]:
    """The event times from `since` to before `until` that both predicted and whose label is known, ascending.

    Of each the first prediction that was given, whichever of the two was shown. `prediction` is that of
    `version`, `other` that of `other`.
    """
    was_shown = and_(predictions.c.version == version, predictions.c.other_version == other)
    was_unseen = and_(predictions.c.version == other, predictions.c.other_version == version)
    rows = _first_of_each_time(
        database, since, until, or_(was_shown, was_unseen), predictions.c.other_prediction.is_not(None)
    )
    found = []
    for row in rows:
        if row["label"] is not None:
            both = (row["prediction"], row["other_prediction"])
            mine, theirs = both if row["version"] == version else both[::-1]
            found.append(Pair(row["event_time"], row["variant"], mine, theirs, row["label"]))
    return found


def waiting(database: Database, since: datetime, until: datetime) -> int:
    """How many event times from `since` to before `until` have a prediction, but no outcome yet."""
    statement = (
        select(func.count(predictions.c.event_time.distinct()))
        .outerjoin(outcomes, outcomes.c.event_time == predictions.c.event_time)
        .where(
            predictions.c.event_time >= since,
            predictions.c.event_time < until,
            outcomes.c.event_time.is_(None),
        )
    )
    with database.reading() as connection:
        return int(connection.scalar(statement) or 0)


def workers(database: Database, seen_within: float) -> list[Worker]:
    """The processes that said within so many seconds (wall time) what they answer with."""
    since = datetime.now(UTC) - timedelta(seconds=seen_within)
    statement = select(tables.workers).where(tables.workers.c.seen_at >= since).order_by(tables.workers.c.id)
    with database.reading() as connection:
        return [Worker(**row) for row in connection.execute(statement).mappings()]


def _first_of_each_time(
    database: Database, since: datetime, until: datetime, *where: ColumnElement[bool]
) -> Sequence[RowMapping]:
    """Of these predictions the first for each event time, with its label (None: not known), ascending."""
    where = (*where, predictions.c.event_time >= since, predictions.c.event_time < until)
    place = func.row_number().over(
        partition_by=predictions.c.event_time, order_by=(predictions.c.made_at, predictions.c.id)
    )
    first = select(predictions, place.label("place")).where(*where).subquery()
    statement = (
        select(first, outcomes.c.label)
        .outerjoin(outcomes, outcomes.c.event_time == first.c.event_time)
        .where(first.c.place == 1)
        .order_by(first.c.event_time)
    )
    with database.reading() as connection:
        return connection.execute(statement).mappings().all()
