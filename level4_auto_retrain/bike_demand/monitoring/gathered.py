"""The gathered rows as production sees them: months read once in a process, bad rows recognised.

A training goes by what was recognised when its data were gathered: `data.quarantine.training_rows`.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from bike_demand.core.current import CADENCE, Row, time_of
from bike_demand.core.settings import DATA, Settings
from bike_demand.data.month import first_moment, parse_month
from bike_demand.data.quarantine import Quarantine, good, quarantine_of
from bike_demand.data.regression_cases import BadDataCase
from bike_demand.data.store import gathered_months, read_rows
from bike_demand.store import event_log, history
from bike_demand.store.database import database_exists, open_database


def gathered_rows(since: datetime | None, until: datetime) -> list[Row]:
    """The gathered rows from `since` (None: the first) to before `until`, ascending; maybe none.

    Raises UserError where a file was damaged.
    """
    rows: list[Row] = []
    for month in gathered_months(DATA):
        if first_moment(month) >= until or (since is not None and month < f"{since:%Y-%m}"):
            continue
        path = (DATA / f"{month}.csv").absolute()
        status = path.stat()
        rows += _read(str(path), month, status.st_mtime_ns, status.st_size)
    return [row for row in rows if time_of(row) < until and (since is None or time_of(row) >= since)]


@lru_cache(maxsize=64)
def _read(path: str, month: str, changed: int, size: int) -> tuple[Row, ...]:  # noqa: ARG001 (part of the key)
    return tuple(parse_month(Path(path).read_bytes(), month, path))


def good_rows(settings: Settings, as_of: datetime | None) -> list[Row]:
    """The gathered rows before `as_of` that a version may be judged by.

    Raises UserError where nothing was gathered, UnreachableError where the database of production is away.
    """
    rows = read_rows(DATA, as_of)
    return good(rows, recognise(settings, rows))


def recognise(settings: Settings, rows: Sequence[Row]) -> Quarantine:
    """What is wrong with these rows, by what production knows, or by themselves where it has no database yet.

    Raises UnreachableError where that database is away.
    """
    address = settings.environments.production.database
    if not rows:
        return Quarantine()
    if not database_exists(address):
        return quarantine_of(rows, {}, (), settings.quality)
    with closing(open_database(address)) as database:
        known = history.labels(database, time_of(rows[0]), time_of(rows[-1]) + CADENCE)
        kept = event_log.regression_cases(database)
    cases = [BadDataCase.model_validate_json(json.dumps(each.content)) for each in kept]
    return quarantine_of(rows, known, cases, settings.quality)
