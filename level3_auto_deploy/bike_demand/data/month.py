"""One month of the feed: its name, and the rules its file has to keep."""

from datetime import datetime, timedelta

from bike_demand.core.current import TIME, Row, time_of
from bike_demand.core.errors import UserError
from bike_demand.core.problem import EARLIEST
from bike_demand.data.table import iso, parse_csv


def first_moment(month: str) -> datetime:
    """The first moment of a month like `2011-01`. Raises ValueError where no feed can have such a month."""
    moment = datetime.strptime(month, "%Y-%m")
    if not EARLIEST.year <= moment.year < datetime.max.year:  # so that there is always a next month
        raise ValueError(month)
    return moment


def next_month(month: str) -> str:
    """The month after `2011-01`, `2011-02`."""
    return f"{first_moment(month) + timedelta(days=31):%Y-%m}"


def parse_month(content: bytes, month: str, name: str, latest: datetime | None = None) -> list[Row]:
    """The rows of a month's file, ascending and without duplicates.

    No row may lie after `latest` (none: not checked). Raises UserError that names line and column.
    """
    rows: list[Row] = []
    begin, end = first_moment(month), first_moment(next_month(month))
    for line, row in parse_csv(content, name, Row):
        stamp = time_of(row)
        if not begin <= stamp < end:
            raise UserError(f"{name}, line {line}, column {TIME}: {iso(stamp)} is not in {month}")
        if rows and stamp <= time_of(rows[-1]):
            what = "stands there twice" if stamp == time_of(rows[-1]) else "is out of order"
            raise UserError(f"{name}, line {line}, column {TIME}: {iso(stamp)} {what}")
        if latest is not None and stamp > latest:
            raise UserError(f"{name}, line {line}, column {TIME}: {iso(stamp)} is in the future")
        rows.append(row)
    return rows
