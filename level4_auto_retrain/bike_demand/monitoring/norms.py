"""What is normal for each field of a request now, from its last good hours."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import fmean

from bike_demand.data.schema import LIMITS, Conditions
from bike_demand.prediction_log.norms import Norm
from bike_demand.settings import Norms

LEAST = 24  # good hours that make a norm
OFTEN_NULL = 0.25  # a field that is missing in more of the hours is not normally told


def norms(
    rows: Sequence[Conditions], bad: Mapping[str, set[datetime]], now: datetime, settings: Norms
) -> list[Norm]:
    """The norms of the fields that have a margin, from the last days with good hours in `rows` (ascending).

    `bad` are the wrong hours of each field. One that is bad to the end keeps the norm of its last good days.
    """
    found: list[Norm] = []
    for name, margin in settings.margin.items():
        good = [row for row in rows if row.timestamp not in bad.get(name, ())]
        if not good:
            continue
        since = good[-1].timestamp - timedelta(days=settings.days)
        told = [
            (row.timestamp.hour, float(value))
            for row in good
            if row.timestamp > since and (value := getattr(row, name)) is not None
        ]
        hours = sum(row.timestamp > since for row in good)
        if len(told) < LEAST or len(told) < (1 - OFTEN_NULL) * hours:
            continue
        values = [value for _, value in told]
        low, high = LIMITS[name]
        mean = fmean(values)
        by_hour = [[value for at, value in told if at == hour] for hour in range(24)]
        found.append(
            Norm(
                field=name,
                low=max(low, min(values) - margin),
                high=min(high, max(values) + margin),
                by_hour=tuple(round(fmean(its), 4) if its else round(mean, 4) for its in by_hour),
                as_of=now,
            )
        )
    return found
