"""Deletes old predictions and outcomes, so that the log does not grow forever."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, tuple_

from bike_demand.core.settings import Settings
from bike_demand.store.database import Database
from bike_demand.store.tables import LoggedPrediction, Outcome, Worker

BATCH = 2000  # rows per transaction, so that services that write meanwhile hardly wait


def delete_old(database: Database, settings: Settings, now: datetime) -> int:
    """Delete what is older than `serving.log.keep_days`, in whole days. Returns the number of predictions.

    A row is deleted only if both its event time and its time of writing are older than that. Can be killed at
    any time: the next run deletes the rest. Raises UnreachableError.
    """
    limit = _limit(database, settings, now)
    if limit is None:
        return 0
    lately = datetime.now(UTC) - timedelta(days=settings.serving.log.keep_days)
    is_old = LoggedPrediction.made_at < lately
    deleted = _delete(database, LoggedPrediction, limit, is_old, LoggedPrediction.id)
    _delete(database, Outcome, limit, Outcome.received_at < lately, Outcome.event_time, Outcome.key)
    with database.writing() as session:  # a killed worker leaves its row
        session.execute(delete(Worker).where(Worker.seen_at < lately))
    return deleted


def _delete(database: Database, table: Any, limit: datetime, is_old: ColumnElement[bool], *key: Any) -> int:
    """Delete the old rows of a table before `limit`, found by their key. Returns their number."""
    old = select(*key).where(table.event_time < limit, is_old).order_by(table.event_time).limit(BATCH)
    batch = delete(table).where(tuple_(*key).in_(old))
    deleted, count = 0, BATCH
    while count == BATCH:
        with database.writing() as session:
            count = session.connection().execute(batch).rowcount
        deleted += count
    return deleted


def _limit(database: Database, settings: Settings, now: datetime) -> datetime | None:
    """The time from which on rows are kept; None: all.

    Counted back from the newest row if `now` is later, so that a wrong clock deletes nothing extra.
    """
    newest = database.one(select(func.max(LoggedPrediction.event_time)))
    if newest is None:
        return None
    day = min(newest, now).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=settings.serving.log.keep_days)
