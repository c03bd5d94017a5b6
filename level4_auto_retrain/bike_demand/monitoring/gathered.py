"""The gathered hours for those who look each day: a month that has not changed is read once in a process."""

from datetime import datetime
from functools import lru_cache
from pathlib import Path

from bike_demand.data.month import first_hour, parse_month
from bike_demand.data.schema import Hour
from bike_demand.data.store import gathered_months
from bike_demand.settings import DATA


def gathered_hours(since: datetime | None, until: datetime) -> list[Hour]:
    """The gathered hours from `since` (None: the first) to before `until`, ascending; none where there are
    none.

    Raises UserError where somebody spoilt a file.
    """
    rows: list[Hour] = []
    for month in gathered_months(DATA):
        if first_hour(month) >= until or (since is not None and month < f"{since:%Y-%m}"):
            continue
        path = (DATA / f"{month}.csv").absolute()
        told = path.stat()
        rows += _read(str(path), month, told.st_mtime_ns, told.st_size)
    return [row for row in rows if row.timestamp < until and (since is None or row.timestamp >= since)]


@lru_cache(maxsize=64)
def _read(path: str, month: str, changed: int, size: int) -> tuple[Hour, ...]:  # noqa: ARG001 (part of the key)
    return tuple(parse_month(Path(path).read_bytes(), month, path))
