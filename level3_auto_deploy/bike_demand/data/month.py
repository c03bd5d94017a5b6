"""Months of the feed: names, boundaries and the timestamp format."""

from datetime import datetime, timedelta

from bike_demand.core.current import EVENT_TIME
from bike_demand.core.problem import MIN_TIME


def month_start(month: str) -> datetime:
    """The first event time of a month like `2011-01`, in UTC if the problem has a time zone.

    Raises ValueError for an invalid month.
    """
    return EVENT_TIME.to_utc(_first_day(month))


def next_month(month: str) -> str:
    """The following month: `2011-02` after `2011-01`."""
    return f"{_first_day(month) + timedelta(days=31):%Y-%m}"


def iso(moment: datetime) -> str:
    """Format a timestamp like the feed: 2011-01-01T00:00:00."""
    return moment.isoformat(timespec="seconds")


def _first_day(month: str) -> datetime:
    day = datetime.strptime(month, "%Y-%m")
    if not MIN_TIME.year <= day.year < datetime.max.year:  # ensures that there is a next month
        raise ValueError(month)
    return day
