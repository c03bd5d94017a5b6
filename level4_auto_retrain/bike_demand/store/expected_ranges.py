"""Expected ranges of input fields: computed from the last good rows, published, and read by the service."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
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
MIN_ROWS = 24  # good rows needed for an expected range, or 75% of the window's rows if that is fewer
MAX_NULL_SHARE = 0.25  # with a larger share of nulls, null counts as expected
MAX_TEXTS = 50  # fields with more distinct texts have no expected ones
MAX_KEYS = 200  # with more keys, like customers, all keys share the means, for lack of rows per key


def compute_ranges(
    rows: "pd.DataFrame",
    bad: Mapping[str, set[RowId]],
    now: datetime,
    settings: Ranges,
    seen_texts: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> list[ExpectedRange]:
    """The ranges of fields with a margin, from the last days with good rows in `rows` (ascending), and the
    texts of all good rows, with those seen before.

    `bad` has the rows with wrong values, by field. A field whose newest rows are bad gets the range of its
    last good days.
    """
    from bike_demand.data.frames import has_row_id, keys_of  # loads pandas

    def good_rows(name: str) -> "pd.DataFrame":
        return rows[~has_row_id(rows, bad.get(name, set()))]

    enough = enough_rows(settings)
    found: list[ExpectedRange] = []
    for name in (name for name, each in FIELDS.items() if each.kind == "text" and name not in KEYS):
        texts = good_rows(name)[name].dropna().value_counts().index.tolist()
        earlier = set(seen_texts.get(name, ())).difference(texts)
        if 0 < len(texts) + len(earlier) <= MAX_TEXTS:
            found.append(ExpectedRange(name, 0.0, 0.0, [0.0] * HOURS, now, [*texts, *sorted(earlier)]))
    for name, margin in settings.margin.items():
        good = good_rows(name)
        recent = good[good[TIME] > good[TIME].max() - timedelta(days=settings.days)]
        values = recent[name].dropna().astype(np.float64)
        if len(values) < max(enough, (1 - MAX_NULL_SHARE) * len(recent)):
            continue
        low, high = FIELDS[name].valid
        hours, keys = recent[TIME].dt.hour, keys_of(recent).loc[values.index]
        groups = values.groupby(keys) if KEYS and keys.nunique() <= MAX_KEYS else ()
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


def enough_rows(settings: Ranges) -> float:
    """The number of good rows that an expected range needs."""
    if CADENCE is None:
        return MIN_ROWS
    # For sparse series, a window holds fewer than MIN_ROWS rows of one key.
    return min(MIN_ROWS, (1 - MAX_NULL_SHARE) * settings.days * (DAY // CADENCE))


def _by_hour(values: "pd.Series[float]", hours: "pd.Series[int]") -> list[float]:
    means = values.groupby(hours.loc[values.index]).mean().reindex(range(HOURS), fill_value=values.mean())
    found: list[float] = means.tolist()
    return found


def publish_ranges(database: Database, ranges: Sequence[ExpectedRange]) -> None:
    """Publish these ranges. A field that is left out, because it is bad now, keeps its earlier range.

    Raises UnreachableError if the database is down.
    """
    with database.writing(ExpectedRange) as session:
        for each in ranges:
            session.merge(each)


def read_ranges(database: Database) -> dict[str, ExpectedRange]:
    """The published ranges, by field."""
    return {each.field: each for each in database.all(select(ExpectedRange).order_by(ExpectedRange.field))}


def count_replaced(database: Database, since: datetime) -> dict[str, int]:
    """The number of predictions for event times from `since` on in which a value was replaced, by field."""
    statement = select(LoggedPrediction.replaced).where(
        LoggedPrediction.event_time >= since, LoggedPrediction.replaced.is_not(None)
    )
    with database.reading() as connection:
        return dict(Counter(field for each in connection.scalars(statement) for field in each))
