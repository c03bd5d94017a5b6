"""What is wrong with the gathered hours by all that is known now: their rows, and what the application was
told.

A training goes by what was recognised when its data were gathered: `data.quarantine.good_hours`.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bike_demand.data import quarantine
from bike_demand.data.lessons import Case
from bike_demand.data.quarantine import Quarantine
from bike_demand.data.schema import Hour
from bike_demand.data.store import read_hours
from bike_demand.settings import DATA, Settings

if TYPE_CHECKING:
    from bike_demand.prediction_log.database import Database


def good_hours(settings: Settings, as_of: datetime | None) -> list[Hour]:
    """The gathered hours before `as_of` that may be learned from, or judged by.

    Raises UserError where nothing was gathered, UnreachableError where the database of production is away.
    """
    rows = read_hours(DATA, as_of)
    return quarantine.good(rows, recognise(settings, rows))


def recognise(settings: Settings, rows: Sequence[Hour]) -> Quarantine:
    """What is wrong with these rows. Without a database of production, only they themselves can tell.

    Raises UnreachableError where that database is away.
    """
    from bike_demand.prediction_log.database import database_exists, open_database

    address = settings.environments.production.database
    if not rows or not database_exists(address):
        return recognise_by(None, settings, rows)

    with closing(open_database(address)) as database:
        return recognise_by(database, settings, rows)


def recognise_by(database: "Database | None", settings: Settings, rows: Sequence[Hour]) -> Quarantine:
    """The same, with the database open, or without one."""
    quality = settings.monitoring.quality
    if not rows:
        return Quarantine()
    if database is None:
        return quarantine.recognise(rows, {}, {}, (), quality)

    from bike_demand.prediction_log import event_log, history

    first, end = rows[0].timestamp, rows[-1].timestamp + timedelta(hours=1)
    lessons = event_log.regression_cases(database)
    cases = [Case.model_validate_json(json.dumps(each.content)) for each in lessons]
    return quarantine.recognise(
        rows,
        history.counts(database, first, end),
        history.unknown(database, first, end),
        cases,
        quality,
    )
