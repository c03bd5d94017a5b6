"""What a row is: half an hour in a region, its weather, and how much electricity was used.

Values beyond the valid range are rejected. Merely unusual ones pass, so that kW
reported for MW is detected by monitoring, not rejected.
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from bike_demand.core.problem import Categories, EventTime, Expected, Key, Unit

REGIONS = ("north", "south", "west")


def from_kilowatts(value: float) -> float:
    """The MW of so many kW."""
    return value / 1000


class Inputs(BaseModel):
    """Half an hour in one region, for which the load is predicted."""

    period_start: Annotated[
        datetime,
        EventTime(cadence="30min", timezone="Europe/Berlin"),
        Field(description="start of the half-hour, local time; with an offset where clocks repeat it"),
    ]
    region: Annotated[
        int, Key(), Field(ge=1, le=3, description="1 north, 2 south, 3 west"), Categories(*REGIONS)
    ]
    holiday: Annotated[bool, Field(description="whether it is a public holiday")]
    solar_mw: Annotated[
        float,
        Field(ge=0, le=1e6, description="forecast output of solar roofs, which lowers the load"),
        Unit("MW", convert=from_kilowatts),
        Expected(0, 400, change=250),
    ]
    temperature_c: Annotated[
        float | None,
        Field(ge=-90, le=150, description="air temperature in degrees C; null if unknown"),
        Unit("degrees C"),
        Expected(-30, 45, change=14),
    ] = None


class Label(BaseModel):
    """What is known when the half-hour is over."""

    load_mw: Annotated[float, Field(ge=0, le=1e7, description="mean load of the region, in MW")]
