"""Stores outcomes: the labels of rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select, tuple_
from sqlalchemy.exc import DataError

from bike_demand.core.current import RowId
from bike_demand.store.database import Database, one_line
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
    database is down, ValueError if it cannot hold a key.
    """
    now = datetime.now(UTC)
    reported = tuple_(Outcome.event_time, Outcome.key).in_(list(labels))
    try:
        with database.writing(Outcome) as session:  # serialises clients that send the same outcome
            known = {
                (row.event_time, row.key): row for row in session.scalars(select(Outcome).where(reported))
            }
            new = [Outcome(*each, label, now) for each, label in labels.items() if each not in known]
            revised = [row for each, row in known.items() if row.label != labels[each]]
            for row in revised:
                row.label, row.revised_at = labels[row.event_time, row.key], now
            session.add_all(new)
    except DataError as error:
        raise ValueError(one_line(error)) from None
    return Stored(len(new), len(labels) - len(new) - len(revised), len(revised))
