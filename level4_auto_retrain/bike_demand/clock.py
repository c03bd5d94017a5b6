"""The reference time: as of when commands decide. Time-outs use the machine's clock."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from bike_demand.core.current import DELAY, clock_time
from bike_demand.core.errors import UserError
from bike_demand.core.settings import DATA, Settings

LARGEST_GAP = timedelta(days=3)  # a few rows with an outcome this long after the previous one are outliers
MIN_ROWS = 20  # so many rows are not a few


def now(settings: Settings, as_of: datetime | None) -> datetime:
    """`as_of`, else the end of the last ingested row or the machine's time, as `clock` in params.yaml says.

    Raises UserError if nothing was ingested, or the last month is damaged.
    """
    if as_of is not None:
        return as_of
    if settings.clock == "wall":
        return clock_time()
    # Imported here, because the service has no pandas; it never calls this.
    from bike_demand.data.frames import period_end
    from bike_demand.data.ingested import ingested_months, read_month

    months = ingested_months(DATA)
    if not months:
        raise UserError(f"{DATA}: no data yet; run `python -m bike_demand ingest`, or give --as-of")
    return period_end(read_month(DATA, months[-1]))


def advance(now: datetime, known: Sequence[datetime]) -> datetime:
    """The end of the ingested data or, if later, of the rows with an outcome, which arrive more often.

    `known`: the event times of these rows, ascending; at least the last `MIN_ROWS`. A few rows far later than
    the others (for example test requests for next year) are ignored.
    """
    for at, moment in enumerate(known):
        if moment > now + LARGEST_GAP and len(known) - at < MIN_ROWS:
            break
        now = max(now, moment + DELAY)
    return now
