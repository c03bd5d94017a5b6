"""The expected ranges of input fields: computed from the last good rows, published, read by the service."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from bike_demand.core.current import CADENCE, FIELDS, KEYS, TIME, RowId
from bike_demand.core.problem import DAY
from bike_demand.core.settings import Ranges
from bike_demand.store.database import Database
from bike_demand.store.tables import ExpectedRange, LoggedPrediction

if TYPE_CHECKING:  # the service has no pandas
    import pandas as pd

HOURS = 24
LEAST = 24  # good rows that make an expected range, or most rows of the days where those are fewer
OFTEN_NULL = 0.25  # a field that is missing in more of the rows may be missing
MOST_TEXTS = 50  # a field with more different texts has none that are expected
MOST_KEYS = 200  # with more, like customers, all keys share the means: few rows are left for each


def compute(
    rows: "pd.DataFrame", bad: Mapping[str, set[RowId]], now: datetime, settings: Ranges
) -> list[ExpectedRange]:
    """The ranges of the fields that have a margin, from the last days with good rows in `rows` (ascending),
    and the texts of all good rows.

    `bad` are the rows with wrong values of each field. One that is bad to the end keeps the range of its
    last good days.
    """
    from bike_demand.data.frames import is_in, keys_of  # only here, as it loads pandas

    def good_rows(name: str) -> "pd.DataFrame":
        return rows[~is_in(rows, bad.get(name, set()))]

    enough: float = LEAST
    if CADENCE is not None:  # of one key: with a row a day, a week has seven
        enough = min(LEAST, (1 - OFTEN_NULL) * settings.days * (DAY // CADENCE))
    found: list[ExpectedRange] = []
    for name in (name for name, each in FIELDS.items() if each.kind == "text" and name not in KEYS):
        texts = good_rows(name)[name].dropna().value_counts().index.tolist()
        if 0 < len(texts) <= MOST_TEXTS:
            found.append(ExpectedRange(name, 0.0, 0.0, [0.0] * HOURS, now, texts))
    for name, margin in settings.margin.items():
        good = good_rows(name)
        recent = good[good[TIME] > good[TIME].max() - timedelta(days=settings.days)]
        values = recent[name].dropna().astype(np.float64)
        if len(values) < max(enough, (1 - OFTEN_NULL) * len(recent)):
            continue
        low, high = FIELDS[name].valid
        hours, keys = recent[TIME].dt.hour, keys_of(recent).loc[values.index]
        groups = values.groupby(keys) if KEYS and keys.nunique() <= MOST_KEYS else ()
        found.append(
            ExpectedRange(
                field=name,
                low=max(low, float(values.min()) - margin),
                high=min(high, float(values.max()) + margin),
                by_hour=_by_hour(values, hours),
                as_of=now,
                by_key={key: _by_hour(own, hours) for key, own in groups if len(own) >= enough} or None,
            )
        )
    return found


def _by_hour(values: "pd.Series[float]", hours: "pd.Series[int]") -> list[float]:
    means = values.groupby(hours.loc[values.index]).mean().reindex(range(HOURS), fill_value=values.mean())
    found: list[float] = means.round(4).tolist()
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
