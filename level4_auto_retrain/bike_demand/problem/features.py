"""Features: the model's inputs, computed from rows. Training, batch scoring and the service all use them."""

import numpy as np

from bike_demand.core.problem import Array, Columns

PASSTHROUGH = ("workingday", "holiday", "weather", "temp_c", "feels_like_c", "humidity", "windspeed_kmh")


def features(columns: Columns) -> Columns:
    """Hour of the day, day of the week, and the inputs as they are.

    Deliberately without month, year or lagged demand, so that the effect of model age is visible; a real
    model would have them.
    """
    hours = columns["timestamp"].astype("datetime64[h]").astype(np.int64)
    # Hours since 1970-01-01, which was a Thursday; Monday is 0.
    calendar = {"hour": hours % 24, "weekday": (hours // 24 + 3) % 7}
    return calendar | {name: columns[name] for name in PASSTHROUGH}


def hour(columns: Columns) -> Array:
    """The hour of the day of each row."""
    hours: Array = columns["timestamp"].astype("datetime64[h]").astype(np.int64) % 24
    return hours
