"""Keeps what became known: the labels of event times."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from bike_demand.store.database import Database
from bike_demand.store.tables import Outcome


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
    with database.writing(Outcome) as session:  # two who send the same one take turns
        rows = session.scalars(select(Outcome).where(Outcome.event_time.in_(list(labels))))
        known = {row.event_time: row for row in rows}
        new = [Outcome(moment, label, now) for moment, label in labels.items() if moment not in known]
        revised = [row for moment, row in known.items() if row.label != labels[moment]]
        for row in revised:
            row.label, row.revised_at = labels[row.event_time], now
        session.add_all(new)
    return Stored(len(new), len(labels) - len(new) - len(revised), len(revised))
