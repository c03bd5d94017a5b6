"""What is normal now for each field of a request: published at each look, read by the service."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from bike_demand.prediction_log import loop_tables as tables
from bike_demand.prediction_log.database import Database, upsert
from bike_demand.prediction_log.tables import predictions

HOURS = 24


@dataclass(frozen=True)
class Norm:
    """What is normal for a field, in its unit: from `low` to `high`, and what it usually is at each hour.

    That there is one says too that the field is normally told: one that is often null has none. `as_of` is in
    the time of the feed.
    """

    field: str
    low: float
    high: float
    by_hour: tuple[float, ...]  # 24, by the hour of the day
    as_of: datetime


def publish(database: Database, norms: Sequence[Norm]) -> None:
    """Let these count from now on. A field that is left out, as it is bad now, keeps the norm of before.

    Raises ValueError for one that is none, UnreachableError where the database is away.
    """
    for each in norms:
        if len(each.by_hour) != HOURS or not all(map(math.isfinite, (each.low, each.high, *each.by_hour))):
            raise ValueError(f"not a norm: {each}")
    with database.writing() as connection:
        upsert(
            database,
            connection,
            tables.norms,
            [{**vars(each), "by_hour": list(each.by_hour)} for each in norms],
        )


def read(database: Database) -> dict[str, Norm]:
    """The norms of now, by field."""
    with database.reading() as connection:
        rows = connection.execute(select(tables.norms).order_by(tables.norms.c.field)).mappings().all()
    return {row["field"]: Norm(**{**row, "by_hour": tuple(row["by_hour"])}) for row in rows}


def replaced(database: Database, since: datetime) -> dict[str, int]:
    """By field, for how many answers to hours from `since` on its value was replaced."""
    statement = select(predictions.c.replaced).where(
        predictions.c.hour >= since, predictions.c.replaced.is_not(None)
    )
    with database.reading() as connection:
        return dict(Counter(field for each in connection.scalars(statement) for field in each))
