"""The gathered hours as production sees them: months read once in a process, bad hours recognised.

A training goes by what was recognised when its data were gathered: `data.quarantine.training_hours`.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

from bike_demand.data.month import first_hour, parse_month
from bike_demand.data.quarantine import Quarantine, good, quarantine_of
from bike_demand.data.regression_cases import BadDataCase
from bike_demand.data.schema import Hour
from bike_demand.data.store import gathered_months, read_hours
from bike_demand.prediction_log import event_log, history
from bike_demand.prediction_log.database import database_exists, open_database
from bike_demand.settings import DATA, Settings


def gathered_hours(since: datetime | None, until: datetime) -> list[Hour]:
    """The gathered hours from `since` (None: the first) to before `until`, ascending; maybe none.

    Raises UserError where a file was damaged.
    """
    rows: list[Hour] = []
    for month in gathered_months(DATA):
        if first_hour(month) >= until or (since is not None and month < f"{since:%Y-%m}"):
            continue
        path = (DATA / f"{month}.csv").absolute()
        status = path.stat()
        rows += _read(str(path), month, status.st_mtime_ns, status.st_size)
    return [row for row in rows if row.timestamp < until and (since is None or row.timestamp >= since)]


@lru_cache(maxsize=64)
def _read(path: str, month: str, changed: int, size: int) -> tuple[Hour, ...]:  # noqa: ARG001 (part of the key)
    return tuple(parse_month(Path(path).read_bytes(), month, path))


def good_hours(settings: Settings, as_of: datetime | None) -> list[Hour]:
    """The gathered hours before `as_of` that a version may be judged by.

    Raises UserError where nothing was gathered, UnreachableError where the database of production is away.
    """
    rows = read_hours(DATA, as_of)
    return good(rows, recognise(settings, rows))


def recognise(settings: Settings, rows: Sequence[Hour]) -> Quarantine:
    """What is wrong with these rows, by what production knows, or by themselves where it has no database yet.

    Raises UnreachableError where that database is away.
    """
    address = settings.environments.production.database
    if not rows:
        return Quarantine()
    if not database_exists(address):
        return quarantine_of(rows, {}, (), settings.quality)
    with closing(open_database(address)) as database:
        known = history.counts(database, rows[0].timestamp, rows[-1].timestamp + timedelta(hours=1))
        kept = event_log.regression_cases(database)
    cases = [BadDataCase.model_validate_json(json.dumps(each.content)) for each in kept]
    return quarantine_of(rows, known, cases, settings.quality)
