"""What the model sees of a row. Training, batch scoring and the service all use this one module."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bike_demand.data.schema import LIMITS, Conditions

# In the order of the model's columns, each with its unit. No month, year or past demand, on purpose: how
# fresh the model is then decides how good it is.
_UNITS = {
    "hour": "hour of the day, local",
    "weekday": "day of the week, Monday is 0",
    "workingday": "0 or 1",
    "holiday": "0 or 1",
    "weather": "1 clear, 2 mist, 3 light rain or snow, 4 heavy",
    "temp_c": "degrees C",
    "feels_like_c": "degrees C",
    "humidity": "relative, 0 to 1",
    "windspeed_kmh": "km/h",
}
FEATURES = tuple(_UNITS)


def to_matrix(rows: Sequence[Conditions]) -> npt.NDArray[np.float32]:
    """Validated rows as a float32 array of shape [rows, 9], columns as in FEATURES; null humidity is NaN.

    A plain loop, not a data frame: for the one row of a request it takes a few microseconds.
    """
    values = [
        (
            row.timestamp.hour,
            row.timestamp.weekday(),
            row.workingday,
            row.holiday,
            row.weather,
            row.temp_c,
            row.feels_like_c,
            math.nan if row.humidity is None else row.humidity,
            row.windspeed_kmh,
        )
        for row in rows
    ]
    return np.array(values, dtype=np.float32).reshape(-1, len(FEATURES))


def describe() -> list[dict[str, Any]]:
    """The model's inputs in order, for whoever receives it: name, type, unit, range, may it be missing."""
    ranges = {"hour": (0, 23), "weekday": (0, 6)} | LIMITS
    return [
        {
            "name": name,
            "type": "float32",
            "unit": unit,
            "min": ranges[name][0],
            "max": ranges[name][1],
            "nullable": name == "humidity",
        }
        for name, unit in _UNITS.items()
    ]
