"""Queries of the prediction log: single predictions, pairs for an A/B test, and workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, func, inspect, or_, select

from bike_demand.core.current import PROBLEM, RowId
from bike_demand.store.database import Database
from bike_demand.store.tables import LoggedPrediction, Outcome, Worker

predictions, outcomes = inspect(LoggedPrediction).columns, inspect(Outcome).columns


@dataclass(frozen=True)
class Pair:
    """Two versions' predictions for one row, and its label. `variant`: whose prediction was shown.

    `group`: the row's value of the field by which errors are averaged.
    """

    time: datetime
    variant: str
    prediction: float
    other: float
    label: float
    key: str = ""
    group: Any = None


def find_prediction(database: Database, prediction_id: str) -> LoggedPrediction | None:
    """The prediction with that id; None if there is none."""
    return database.one(select(LoggedPrediction).where(predictions.id == prediction_id))


def rows_of(database: Database, ids: Sequence[str]) -> dict[str, RowId]:
    """The rows of the predictions with these ids, without unknown ids."""
    statement = select(predictions.id, predictions.event_time, predictions.key)
    with database.reading() as connection:
        found = connection.execute(statement.where(predictions.id.in_(ids))) if ids else ()
        return {id_: (moment, key) for id_, moment, key in found}


def find_label(database: Database, row: RowId) -> float | None:
    """The label of a row; None if not known yet."""
    moment, key = row
    return database.one(select(outcomes.label).where(outcomes.event_time == moment, outcomes.key == key))


def pairs(database: Database, version: int, other: int, since: datetime, until: datetime) -> list[Pair]:
    """The rows from `since` to before `until` with predictions of both versions and a known label, ascending.

    Uses the first prediction for each row, whichever of the two was shown. In the result, `prediction` is by
    `version`, `other` by `other`.
    """
    was_shown = and_(predictions.version == version, predictions.other_version == other)
    was_unseen = and_(predictions.version == other, predictions.other_version == version)
    rows = _first_of_each_row(
        database, since, until, or_(was_shown, was_unseen), predictions.other_prediction.is_not(None)
    )
    found = []
    for row in rows:
        if row["label"] is not None:
            both = (row["prediction"], row["other_prediction"])
            mine, theirs = both if row["version"] == version else both[::-1]
            group = row["inputs"].get(PROBLEM.average_by)
            found.append(
                Pair(row["event_time"], row["variant"], mine, theirs, row["label"], row["key"], group)
            )
    return found


def first_served_since(database: Database, version: int, other: int | None) -> datetime | None:
    """The first event time for which `version` was shown since `other` was last shown; None if it was not.

    Without `other`, the first event time of all.
    """
    last = database.one(select(func.max(predictions.made_at)).where(predictions.version == other))
    later = select(func.min(predictions.event_time)).where(predictions.version == version)
    return database.one(later if last is None else later.where(predictions.made_at > last))


def newest_known_rows(database: Database, number: int) -> list[datetime]:
    """The event times of the last so many predicted rows with an outcome, ascending."""
    is_predicted = select(predictions.id).where(_same(predictions, outcomes)).exists()
    last = select(outcomes.event_time).where(is_predicted).order_by(outcomes.event_time.desc())
    return database.all(last.limit(number))[::-1]


def count_missing_outcomes(database: Database, since: datetime, until: datetime) -> int:
    """The number of rows from `since` to before `until` with a prediction but no outcome yet."""
    is_known = select(outcomes.key).where(_same(predictions, outcomes)).exists()
    is_due = and_(predictions.event_time >= since, predictions.event_time < until)
    missing = select(predictions.event_time, predictions.key).where(is_due, ~is_known).distinct()
    return database.one(select(func.count()).select_from(missing.subquery())) or 0


def workers(database: Database, seen_within: float) -> list[Worker]:
    """The workers that reported within the last `seen_within` seconds of wall time."""
    since = datetime.now(UTC) - timedelta(seconds=seen_within)
    return database.all(select(Worker).where(Worker.seen_at >= since).order_by(Worker.id))


def _same(one: Any, other: Any) -> ColumnElement[bool]:
    return and_(one.event_time == other.event_time, one.key == other.key)


def _first_of_each_row(
    database: Database, since: datetime, until: datetime, *where: ColumnElement[bool]
) -> Sequence[RowMapping]:
    """The first of these predictions for each row, with its label (None: not known), ascending."""
    where = (*where, predictions.event_time >= since, predictions.event_time < until)
    place = func.row_number().over(
        partition_by=(predictions.event_time, predictions.key),
        order_by=(predictions.made_at, predictions.id),
    )
    first = select(*predictions, place.label("place")).where(*where).subquery()
    statement = (
        select(first, outcomes.label)
        .outerjoin(Outcome, _same(first.c, outcomes))
        .where(first.c.place == 1)
        .order_by(first.c.event_time, first.c.key)
    )
    with database.reading() as connection:
        return connection.execute(statement).mappings().all()
