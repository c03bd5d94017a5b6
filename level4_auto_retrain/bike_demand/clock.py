"""The reference time: as of when commands decide. Time-outs use the machine's clock."""

from datetime import datetime

from bike_demand.core.current import clock_time
from bike_demand.core.errors import UserError
from bike_demand.core.settings import DATA, Settings


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
