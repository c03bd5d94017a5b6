"""What the model sees of a row. Training, batch scoring and the service all use this one function."""

import numpy as np

from bike_demand.core.problem import Array, Columns

PASSTHROUGH = ("region", "holiday", "solar_mw", "temperature_c")


def features(columns: Columns) -> Columns:
    """The half-hour of the day, the day of the week, and the inputs as they are.

    No past load: the model then answers for any day ahead, and a load that steps down shows in its error.
    """
    return {"half_hour": half_hour(columns), "weekday": weekday(columns)} | {
        name: columns[name] for name in PASSTHROUGH
    }


def half_hour(columns: Columns) -> Array:
    """The half-hour of the day of each row, 0 to 47."""
    minutes: Array = columns["period_start"].astype("datetime64[m]").astype(np.int64)
    return minutes // 30 % 48


def weekday(columns: Columns) -> Array:
    """The day of the week of each row; Monday is 0."""
    days: Array = columns["period_start"].astype("datetime64[D]").astype(np.int64)
    return (days + 3) % 7  # days since 1970-01-01, which was a Thursday
