"""The small feed with something wrong in it: for tests of what recognises that."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

from bike_demand.data.month import parse_month
from bike_demand.data.schema import Hour
from tests.feedmaker import HEADER, MONTHS, month_lines, write_month

Change = Callable[[Hour], Hour]


@cache
def feed_hours() -> tuple[Hour, ...]:
    """What really happened in the three months of the small feed."""
    return tuple(
        row
        for month in MONTHS
        for row in parse_month("\n".join([HEADER, *month_lines(month), ""]).encode(), month, month)
    )


def spoilt(rows: Sequence[Hour], first: str, last: str, change: Change) -> list[Hour]:
    """The rows, changed from one day to before another."""
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return [change(row) if begin <= row.timestamp < end else row for row in rows]


def without(rows: Sequence[Hour], first: str, last: str, every: int = 1) -> list[Hour]:
    """The rows without each `every`-th from one day to before another."""
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    during = [row for row in rows if begin <= row.timestamp < end]
    lost = {row.timestamp for row in during[::every]}
    return [row for row in rows if row.timestamp not in lost]


def fahrenheit(row: Hour) -> Hour:
    return row.model_copy(
        update={name: round(getattr(row, name) * 1.8 + 32, 2) for name in ("temp_c", "feels_like_c")}
    )


def no_humidity(row: Hour) -> Hour:
    return row.model_copy(update={"humidity": None})


def fourfold(row: Hour) -> Hour:
    return row.model_copy(update={"casual": None, "registered": None, "count": 4 * row.count})


def publish(rows: Iterable[Hour], folder: Path) -> None:
    """Write these rows as the operator's feed."""
    by_month: dict[str, list[str]] = {}
    for row in rows:
        cells = ["" if cell is None else str(cell) for cell in row.model_dump(exclude={"timestamp"}).values()]
        line = ",".join([row.timestamp.isoformat(), *cells])
        by_month.setdefault(f"{row.timestamp:%Y-%m}", []).append(line)
    folder.mkdir(parents=True, exist_ok=True)
    for month, lines in by_month.items():
        write_month(folder / f"{month}.csv", lines)
