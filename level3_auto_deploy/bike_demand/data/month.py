"""Months of the feed and their names, and how times are written."""

from datetime import datetime, timedelta

from bike_demand.core.current import EVENT_TIME
from bike_demand.core.problem import EARLIEST


def first_moment(month: str) -> datetime:
    """The event time with which a month like `2011-01` begins. Raises ValueError where none can."""
    return EVENT_TIME.to_utc(_first_day(month))


def next_month(month: str) -> str:
    """The month after `2011-01`, `2011-02`."""
    return f"{_first_day(month) + timedelta(days=31):%Y-%m}"


def iso(moment: datetime) -> str:
    """A timestamp as the feed writes it: 2011-01-01T00:00:00."""
    return moment.isoformat(timespec="seconds")


def _first_day(month: str) -> datetime:
    day = datetime.strptime(month, "%Y-%m")
    if not EARLIEST.year <= day.year < datetime.max.year:  # so that there is always a next month
        raise ValueError(month)
    return day
