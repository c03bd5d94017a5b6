"""Keeps what happened: the true count of an hour."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import bindparam, insert, select, text, update

from bike_demand.prediction_log.database import Database
from bike_demand.prediction_log.tables import outcomes


@dataclass(frozen=True)
class Stored:
    """What became of the outcomes that were sent: how many hours are new, known already, or corrected."""

    new: int
    unchanged: int
    revised: int


def store(database: Database, given: Sequence[tuple[datetime, int]]) -> Stored:
    """Keep the counts of these hours (local time), all or none; they are on the disk when this returns.

    To send an hour again changes nothing; another count takes the place of the one before. Of an hour
    that is there twice the later counts. Raises UnreachableError where the database is away.
    """
    counts = dict(given)
    now = datetime.now(UTC)
    with database.writing() as connection:
        if database.engine.dialect.name == "postgresql":  # two who send the same hour take turns
            connection.execute(text("LOCK TABLE outcomes IN SHARE ROW EXCLUSIVE MODE"))
        known = dict(
            connection.execute(
                select(outcomes.c.hour, outcomes.c.count).where(outcomes.c.hour.in_(list(counts)))
            )
            .tuples()
            .all()
        )
        new = [hour for hour in counts if hour not in known]
        revised = [hour for hour in known if known[hour] != counts[hour]]
        if new:
            connection.execute(
                insert(outcomes), [{"hour": hour, "count": counts[hour], "received_at": now} for hour in new]
            )
        if revised:
            connection.execute(
                update(outcomes)
                .where(outcomes.c.hour == bindparam("which"))
                .values(count=bindparam("is_now"), revised_at=now),
                [{"which": hour, "is_now": counts[hour]} for hour in revised],
            )
    return Stored(len(new), len(counts) - len(new) - len(revised), len(revised))
