"""Ingested rows for monitoring and gates: cached per month, with bad rows detected.

Trainings use the quarantine written at ingestion instead: `data.quarantine.training_rows`.
"""

from contextlib import closing
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import pandas as pd

from bike_demand.core.current import TIME, Row
from bike_demand.core.settings import DATA, Settings
from bike_demand.data.frames import concat, time_range, to_frame, with_label
from bike_demand.data.ingested import ingested_months, month_file, read_month, read_rows
from bike_demand.data.label_check import check_ingested
from bike_demand.data.month import month_start, next_month
from bike_demand.data.quarantine import Quarantine, without_quarantined
from bike_demand.data.regression_cases import RegressionCaseContent
from bike_demand.store import daily_stats, event_log
from bike_demand.store.database import database_exists, open_database

RESOLUTION = timedelta(seconds=1)  # resolution of event times


def rows_between(since: datetime | None, until: datetime) -> pd.DataFrame:
    """The ingested rows from `since` (None: the first) to before `until`, ascending; may be empty.

    Raises UserError if a file is damaged.
    """
    found: list[pd.DataFrame] = []
    for month in ingested_months(DATA):
        if month_start(month) >= until or (since is not None and month_start(next_month(month)) <= since):
            continue
        folder = DATA.absolute()
        status = month_file(folder, month).stat()
        found.append(_read(folder, month, status.st_mtime_ns, status.st_size))
    rows = concat(found) if found else to_frame((), Row)
    return rows[(rows[TIME] < until) & (rows[TIME] >= (since or datetime.min))]


@lru_cache(maxsize=64)
def _read(folder: Path, month: str, changed: int, size: int) -> pd.DataFrame:  # noqa: ARG001 (part of the key)
    return read_month(folder, month)


def good_rows(settings: Settings, as_of: datetime | None) -> pd.DataFrame:
    """The ingested rows before `as_of` for evaluating versions: good ones with a label.

    Raises UserError if nothing was ingested, UnreachableError if the production database is down.
    """
    rows = read_rows(DATA, as_of)
    return with_label(without_quarantined(rows, detect_bad_rows(settings, rows)))


def detect_bad_rows(settings: Settings, rows: pd.DataFrame) -> Quarantine:
    """Detect the bad rows, using outcomes, regression cases and level shifts of the production database.

    If there is no database yet, only the rows are used. Raises UnreachableError if it is down.
    """
    address = settings.environments.production.database
    if rows.empty:
        return Quarantine()
    if not database_exists(address):
        return Quarantine(violations=tuple(check_ingested(rows, {}, settings.quality)))
    with closing(open_database(address)) as database:
        first, last = time_range(rows)
        labels = daily_stats.labels(database, first, last + RESOLUTION)
        kept, shifts = event_log.regression_cases(database), event_log.level_shifts(database)
    return Quarantine(
        violations=tuple(check_ingested(rows, labels, settings.quality)),
        cases=tuple(RegressionCaseContent.model_validate(each.content) for each in kept),
        level_shifts=shifts,
    )
