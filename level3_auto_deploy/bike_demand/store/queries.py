"""Reads the prediction log: single predictions, pairs for an A/B test, and workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, RowMapping, and_, func, inspect, or_, select

from bike_demand.store.database import Database
from bike_demand.store.tables import LoggedPrediction, Outcome, Worker

predictions, outcomes = inspect(LoggedPrediction).columns, inspect(Outcome).columns


@dataclass(frozen=True)
class Pair:
    """What two versions predicted for one event time, and its label. `variant` is whose was shown."""

    time: datetime
    variant: str
    prediction: float
    other: float
    label: float


def find(database: Database, prediction_id: str) -> LoggedPrediction | None:
    """The prediction of that id; None where there is none."""
    with database.reading() as session:
        return session.get(LoggedPrediction, prediction_id)


def outcome(database: Database, event_time: datetime) -> float | None:
    """The label of that event time; None while it is not known."""
    with database.reading() as connection:
        found: float | None = connection.scalar(
            select(outcomes.label).where(outcomes.event_time == event_time)
        )
        return found


def pairs(database: Database, version: int, other: int, since: datetime, until: datetime) -> list[Pair]:
    """The event times from `since` to before `until` that both predicted and whose label is known, ascending.

    Of each the first prediction that was given, whichever of the two was shown. `prediction` is that of
    `version`, `other` that of `other`.
    """
    was_shown = and_(predictions.version == version, predictions.other_version == other)
    was_unseen = and_(predictions.version == other, predictions.other_version == version)
    rows = _first_of_each_time(
        database, since, until, or_(was_shown, was_unseen), predictions.other_prediction.is_not(None)
    )
    found = []
    for row in rows:
        if row["label"] is not None:
            both = (row["prediction"], row["other_prediction"])
            mine, theirs = both if row["version"] == version else both[::-1]
            found.append(Pair(row["event_time"], row["variant"], mine, theirs, row["label"]))
    return found


def first_time_after(database: Database, version: int, other: int | None) -> datetime | None:
    """The first event time for which `version` was shown since `other` was shown last; None: it was not.

    No other: since ever.
    """
    mine = select(func.min(predictions.event_time)).where(predictions.version == version)
    with database.reading() as connection:
        if other is not None:
            last = connection.scalar(
                select(func.max(predictions.made_at)).where(predictions.version == other)
            )
            if last is not None:
                mine = mine.where(predictions.made_at > last)
        found: datetime | None = connection.scalar(mine)
        return found


def waiting(database: Database, since: datetime, until: datetime) -> int:
    """How many event times from `since` to before `until` have a prediction, but no outcome yet."""
    statement = (
        select(func.count(predictions.event_time.distinct()))
        .outerjoin(Outcome, outcomes.event_time == predictions.event_time)
        .where(
            predictions.event_time >= since,
            predictions.event_time < until,
            outcomes.event_time.is_(None),
        )
    )
    with database.reading() as connection:
        return int(connection.scalar(statement) or 0)


def workers(database: Database, seen_within: float) -> list[Worker]:
    """The processes that said within so many seconds (wall time) what they answer with."""
    since = datetime.now(UTC) - timedelta(seconds=seen_within)
    return database.all(select(Worker).where(Worker.seen_at >= since).order_by(Worker.id))


def _first_of_each_time(
    database: Database, since: datetime, until: datetime, *where: ColumnElement[bool]
) -> Sequence[RowMapping]:
    """Of these predictions the first for each event time, with its label (None: not known), ascending."""
    where = (*where, predictions.event_time >= since, predictions.event_time < until)
    place = func.row_number().over(
        partition_by=predictions.event_time, order_by=(predictions.made_at, predictions.id)
    )
    first = select(*predictions, place.label("place")).where(*where).subquery()
    statement = (
        select(first, outcomes.label)
        .outerjoin(Outcome, outcomes.event_time == first.c.event_time)
        .where(first.c.place == 1)
        .order_by(first.c.event_time)
    )
    with database.reading() as connection:
        return connection.execute(statement).mappings().all()
