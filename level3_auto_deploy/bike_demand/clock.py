"""The time of the story, by which everything but process time-outs goes."""

from datetime import datetime

from bike_demand.core.current import clock_time
from bike_demand.core.errors import UserError
from bike_demand.core.settings import DATA, Settings


def now(settings: Settings, as_of: datetime | None) -> datetime:
    """`as_of`; else the end of the last row that was gathered, or this machine's time where
    `clock` in params.yaml says so.

    Raises UserError where nothing was gathered, or somebody spoilt the last month.
    """
    if as_of is not None:
        return as_of
    if settings.clock == "wall":
        return clock_time()
    # Only here: the service, which never asks, has no pandas.
    from bike_demand.data.frames import end
    from bike_demand.data.store import gathered_months, read_month

    months = gathered_months(DATA)
    if not months:
        raise UserError(f"{DATA}: no data gathered yet; run `python -m bike_demand ingest`, or give --as-of")
    return end(read_month(DATA, months[-1]))
