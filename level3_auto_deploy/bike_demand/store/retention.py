"""Deletes old predictions and outcomes, so that the log does not grow forever."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select

from bike_demand.core.settings import Settings
from bike_demand.store.database import Database
from bike_demand.store.tables import LoggedPrediction, Outcome, Worker


def delete_old(database: Database, settings: Settings, now: datetime) -> int:
    """Delete what is older than `serving.log.keep_days`, in whole days. Returns the number of predictions.

    A row is deleted only if both its event time and its time of writing are older than that. Raises
    UnreachableError.
    """
    limit = _limit(database, settings, now)
    if limit is None:
        return 0
    lately = datetime.now(UTC) - timedelta(days=settings.serving.log.keep_days)
    old = delete(LoggedPrediction).where(
        LoggedPrediction.event_time < limit, LoggedPrediction.made_at < lately
    )
    with database.writing() as session:
        deleted = session.connection().execute(old).rowcount
        session.execute(delete(Outcome).where(Outcome.event_time < limit, Outcome.received_at < lately))
        session.execute(delete(Worker).where(Worker.seen_at < lately))  # a killed worker leaves its row
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
