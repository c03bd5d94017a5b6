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
    """How many of the outcomes are new, were known already, or got another label."""

    new: int
    unchanged: int
    revised: int


def store(database: Database, labels: Mapping[RowId, float]) -> Stored:
    """Store the labels of these rows, all or none; they are on the disk when this returns.

    To send one again changes nothing; another label takes the place of the one before. Raises
    UnreachableError where the database is away.
    """
    now = datetime.now(UTC)
    with database.writing(Outcome) as session:  # two who send the same one wait for each other
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
