"""Months of the feed and their names, and how times are written."""

from datetime import datetime, timedelta

from bike_demand.core.problem import EARLIEST


def first_moment(month: str) -> datetime:
    """The first moment of a month like `2011-01`. Raises ValueError where no feed can have such a month."""
    moment = datetime.strptime(month, "%Y-%m")
    if not EARLIEST.year <= moment.year < datetime.max.year:  # so that there is always a next month
        raise ValueError(month)
    return moment


def next_month(month: str) -> str:
    """The month after `2011-01`, `2011-02`."""
    return f"{first_moment(month) + timedelta(days=31):%Y-%m}"


def iso(moment: datetime) -> str:
    """A timestamp as the feed writes it: 2011-01-01T00:00:00."""
    return moment.isoformat(timespec="seconds")
