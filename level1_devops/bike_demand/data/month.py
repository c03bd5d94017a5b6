"""One month of the feed: its name, and the rules its file has to keep."""

from datetime import datetime, timedelta

from bike_demand.data.schema import EARLIEST, Hour
from bike_demand.data.table import iso, parse_csv
from bike_demand.errors import UserError


def first_hour(month: str) -> datetime:
    """The first hour of a month like `2011-01`. Raises ValueError where no feed can have such a month."""
    hour = datetime.strptime(month, "%Y-%m")
    if not EARLIEST.year <= hour.year < datetime.max.year:  # so that there is always a next month
        raise ValueError(month)
    return hour


def next_month(month: str) -> str:
    """The month after `2011-01`, `2011-02`."""
    return f"{first_hour(month) + timedelta(days=31):%Y-%m}"


def parse_month(content: bytes, month: str, name: str, latest: datetime | None = None) -> list[Hour]:
    """The rows of a month's file, ascending and without duplicates.

    No row may lie after `latest` (none: not checked). Raises UserError that names line and column.
    """
    rows: list[Hour] = []
    begin, end = first_hour(month), first_hour(next_month(month))
    for line, row in parse_csv(content, name, Hour):
        stamp = row.timestamp
        if not begin <= stamp < end:
            raise UserError(f"{name}, line {line}, column timestamp: {iso(stamp)} is not in {month}")
        if rows and stamp <= rows[-1].timestamp:
            what = "stands there twice" if stamp == rows[-1].timestamp else "is out of order"
            raise UserError(f"{name}, line {line}, column timestamp: the hour {iso(stamp)} {what}")
        if latest is not None and stamp > latest:
            raise UserError(f"{name}, line {line}, column timestamp: {iso(stamp)} is in the future")
        rows.append(row)
    return rows
