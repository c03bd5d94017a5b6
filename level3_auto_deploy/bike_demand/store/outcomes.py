"""Stores outcomes: the labels of rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from bike_demand.core.current import RowId
from bike_demand.store.database import Database
from bike_demand.store.tables import Outcome


@dataclass(frozen=True)
class Stored:
    """Numbers of new, unchanged and revised outcomes."""

    new: int
    unchanged: int
    revised: int


def store(database: Database, labels: Mapping[RowId, float]) -> Stored:
    """Store the labels of rows, all or none; durable on return.

    Storing one again changes nothing; another label replaces the earlier one. Raises UnreachableError if the
    database is down.
    """
    now = datetime.now(UTC)
    with database.writing(Outcome) as session:  # serialises clients that send the same outcome
        rows = session.scalars(
            select(Outcome).where(Outcome.event_time.in_({moment for moment, _ in labels}))
        )
        known = {found: row for row in rows if (found := (row.event_time, row.key)) in labels}
        new = [Outcome(*each, label, now) for each, label in labels.items() if each not in known]
        revised = [row for each, row in known.items() if row.label != labels[each]]
        for row in revised:
            row.label, row.revised_at = labels[row.event_time, row.key], now
        session.add_all(new)
    return Stored(len(new), len(labels) - len(new) - len(revised), len(revised))
