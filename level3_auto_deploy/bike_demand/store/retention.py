"""Deletes predictions and outcomes after the time that they are kept for: else the log grows for ever."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Delete, delete, func, select, tuple_

from bike_demand.core.settings import Settings
from bike_demand.store.database import Database
from bike_demand.store.tables import LoggedPrediction, Outcome

BATCH = 2000  # rows of one transaction: services that write meanwhile hardly wait


def delete_old(database: Database, settings: Settings, now: datetime) -> int:
    """Delete what is older than `serving.log.keep_days`, whole days; how many predictions that were.

    Of an event long ago, what was predicted or reported lately is kept as long as anything else.
    It can be killed anywhere: what is left is deleted the next time. Raises UnreachableError.
    """
    limit = _limit(database, settings, now)
    if limit is None:
        return 0
    lately = datetime.now(UTC) - timedelta(days=settings.serving.log.keep_days)
    predictions = (
        select(LoggedPrediction.id)
        .where(LoggedPrediction.event_time < limit, LoggedPrediction.made_at < lately)
        .order_by(LoggedPrediction.event_time)
        .limit(BATCH)
    )
    outcomes = (
        select(Outcome.event_time, Outcome.key)
        .where(Outcome.event_time < limit, Outcome.received_at < lately)
        .order_by(Outcome.event_time)
        .limit(BATCH)
    )
    deleted = _delete(database, delete(LoggedPrediction).where(LoggedPrediction.id.in_(predictions)))
    _delete(database, delete(Outcome).where(tuple_(Outcome.event_time, Outcome.key).in_(outcomes)))
    return deleted


def _delete(database: Database, batch: Delete) -> int:
    deleted, count = 0, BATCH
    while count == BATCH:
        with database.writing() as session:
            count = session.connection().execute(batch).rowcount
        deleted += count
    return deleted


def _limit(database: Database, settings: Settings, now: datetime) -> datetime | None:
    """From when on everything is kept; None: all is. A future time, given by mistake, deletes nothing."""
    with database.reading() as session:
        newest = session.scalar(select(func.max(LoggedPrediction.event_time)))
    if newest is None:
        return None
    day = min(newest, now).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=settings.serving.log.keep_days)
