"""Keeps what happened: the true count of an hour."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select, text

from bike_demand.prediction_log.database import Database, upsert
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
        rows = connection.execute(select(outcomes).where(outcomes.c.hour.in_(list(counts)))).mappings()
        known = {row["hour"]: row for row in rows}
        new = [
            {"hour": hour, "count": counts[hour], "received_at": now, "revised_at": None}
            for hour in counts
            if hour not in known
        ]
        revised = [
            {**row, "count": counts[hour], "revised_at": now}
            for hour, row in known.items()
            if row["count"] != counts[hour]
        ]
        upsert(database, connection, outcomes, [*new, *revised])
    return Stored(len(new), len(counts) - len(new) - len(revised), len(revised))
