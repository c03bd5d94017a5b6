"""The small feed with something wrong in it: for tests of what recognises that."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from bike_demand.core.current import Row, row_id
from bike_demand.data.table import read_month_file
from tests.feedmaker import HEADER, MONTHS, month_lines, write_month
from tests.ingested import rows_of

Change = Callable[[Row], Row]


@cache
def feed_rows() -> tuple[Row, ...]:
    """The rows of the three months of the small feed."""
    return tuple(
        row
        for month in MONTHS
        for row in rows_of(read_month_file("\n".join([HEADER, *month_lines(month)]).encode(), month, month))
    )


def corrupt(rows: Sequence[Row], first: str, last: str, change: Change) -> list[Row]:
    """The rows, changed from one day to before another."""
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return [change(row) if begin <= row.begins < end else row for row in rows]


def without(rows: Sequence[Row], first: str, last: str, every: int = 1) -> list[Row]:
    """The rows without each `every`-th from one day to before another."""
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    during = [row for row in rows if begin <= row.begins < end]
    lost = {row_id(row) for row in during[::every]}
    return [row for row in rows if row_id(row) not in lost]


def changed(row: Row, **values: Any) -> Row:
    """The row with other values."""
    other: Row = row.model_copy(update=values)
    return other


def fahrenheit(row: Row) -> Row:
    return changed(row, **{name: round(getattr(row, name) * 1.8 + 32, 2) for name in ("heat", "core_heat")})


def no_moisture(row: Row) -> Row:
    return changed(row, moisture=None)


def times_four(row: Row) -> Row:
    return changed(row, part_a=None, part_b=None, amount=4 * row.amount)


def unlabelled(row: Row) -> Row:
    return changed(row, part_a=None, part_b=None, amount=None)


def publish(rows: Iterable[Row], folder: Path) -> None:
    """Write these rows as the operator's feed."""
    by_month: dict[str, list[str]] = {}
    for row in rows:
        cells = ["" if cell is None else str(cell) for cell in row.model_dump(exclude={"begins"}).values()]
        line = ",".join([row.begins.isoformat(), *cells])
        by_month.setdefault(f"{row.begins:%Y-%m}", []).append(line)
    folder.mkdir(parents=True, exist_ok=True)
    for month, lines in by_month.items():
        write_month(folder / f"{month}.csv", lines)
