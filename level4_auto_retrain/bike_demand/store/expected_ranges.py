"""The expected ranges of input fields: computed from the last good rows, published, read by the service."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import fmean

from sqlalchemy import select

from bike_demand.core.current import FIELDS, ROWS_A_DAY, Inputs, time_of
from bike_demand.core.settings import Ranges
from bike_demand.store.database import Database
from bike_demand.store.tables import ExpectedRange, LoggedPrediction

HOURS = 24
LEAST = ROWS_A_DAY  # good rows that make an expected range
OFTEN_NULL = 0.25  # a field that is missing in more of the rows may be missing


def compute(
    rows: Sequence[Inputs], bad: Mapping[str, set[datetime]], now: datetime, settings: Ranges
) -> list[ExpectedRange]:
    """The ranges of the fields that have a margin, from the last days with good rows in `rows` (ascending).

    `bad` are the times of wrong values of each field. One that is bad to the end keeps the range of its
    last good days.
    """
    found: list[ExpectedRange] = []
    for name, margin in settings.margin.items():
        good = [row for row in rows if time_of(row) not in bad.get(name, ())]
        recent = [row for row in good if time_of(good[-1]) - time_of(row) < timedelta(days=settings.days)]
        values = [
            (time_of(row).hour, float(value)) for row in recent if (value := getattr(row, name)) is not None
        ]
        if len(values) < max(LEAST, (1 - OFTEN_NULL) * len(recent)):
            continue
        low, high = FIELDS[name].valid
        by_hour = [[value for at, value in values if at == hour] for hour in range(HOURS)]
        mean = fmean(value for _, value in values)
        found.append(
            ExpectedRange(
                field=name,
                low=max(low, min(value for _, value in values) - margin),
                high=min(high, max(value for _, value in values) + margin),
                by_hour=[round(fmean(each) if each else mean, 4) for each in by_hour],
                as_of=now,
            )
        )
    return found


def publish(database: Database, ranges: Sequence[ExpectedRange]) -> None:
    """Put these in force. A field that is left out, as it is bad now, keeps the range of before.

    Raises ValueError for one that is not finite, UnreachableError where the database is away.
    """
    for each in ranges:
        if len(each.by_hour) != HOURS or not all(map(math.isfinite, (each.low, each.high, *each.by_hour))):
            raise ValueError(f"not an expected range: {each}")
    with database.writing() as session:
        for each in ranges:
            session.merge(each)


def read(database: Database) -> dict[str, ExpectedRange]:
    """The ranges in force, by field."""
    return {each.field: each for each in database.all(select(ExpectedRange).order_by(ExpectedRange.field))}


def replaced(database: Database, since: datetime) -> dict[str, int]:
    """By field, in how many predictions for event times from `since` on its value was replaced."""
    statement = select(LoggedPrediction.replaced).where(
        LoggedPrediction.event_time >= since, LoggedPrediction.replaced.is_not(None)
    )
    with database.reading() as connection:
        return dict(Counter(field for each in connection.scalars(statement) for field in each))
