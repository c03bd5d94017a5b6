"""Keeps what became known: the labels of event times."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select, text

from bike_demand.store.database import Database, upsert
from bike_demand.store.tables import outcomes


@dataclass(frozen=True)
class Stored:
    """What became of the outcomes that were sent: how many are new, known already, or corrected."""

    new: int
    unchanged: int
    revised: int


def store(database: Database, given: Sequence[tuple[datetime, float]]) -> Stored:
    """Keep the labels of these event times, all or none; they are on the disk when this returns.

    To send one again changes nothing; another label takes the place of the one before. Of an event time
    that is there twice the later counts. Raises UnreachableError where the database is away.
    """
    labels = dict(given)
    now = datetime.now(UTC)
    with database.writing() as connection:
        if database.engine.dialect.name == "postgresql":  # two who send the same one take turns
            connection.execute(text("LOCK TABLE outcomes IN SHARE ROW EXCLUSIVE MODE"))
        rows = connection.execute(select(outcomes).where(outcomes.c.event_time.in_(list(labels)))).mappings()
        known = {row["event_time"]: row for row in rows}
        new = [
            {"event_time": moment, "label": labels[moment], "received_at": now, "revised_at": None}
            for moment in labels
            if moment not in known
        ]
        revised = [
            {**row, "label": labels[moment], "revised_at": now}
            for moment, row in known.items()
            if row["label"] != labels[moment]
        ]
        upsert(database, connection, outcomes, [*new, *revised])
    return Stored(len(new), len(labels) - len(new) - len(revised), len(revised))
