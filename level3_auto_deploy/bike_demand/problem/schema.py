"""Input fields and label of one row, which is one hour.

Values outside the valid range are rejected. Unusual values are accepted, so that a sensor that reports
Fahrenheit does not block training or requests.
"""

from typing import Annotated

from pydantic import BaseModel, Field, NaiveDatetime, model_validator

from bike_demand.core.problem import Categories, EventTime, Expected, Unit

BikeCount = Annotated[int, Field(ge=0, le=20_000)]


class Inputs(BaseModel):
    """One hour for which demand is predicted."""

    timestamp: Annotated[
        NaiveDatetime, EventTime(cadence="1h"), Field(description="start of the hour, local time, no zone")
    ]
    holiday: Annotated[int, Field(ge=0, le=1, description="1 on a public holiday"), Categories("no", "yes")]
    workingday: Annotated[
        int, Field(ge=0, le=1, description="1 if neither weekend nor holiday"), Categories("no", "yes")
    ]
    weather: Annotated[
        int,
        Field(ge=1, le=4, description="1 clear, 2 mist, 3 light rain or snow, 4 heavy rain or snow"),
        Categories("clear", "mist", "light rain or snow", "heavy rain or snow"),
    ]
    temp_c: Annotated[
        float,
        Field(ge=-90, le=150, description="air temperature in degrees C"),
        Unit("degrees C"),
        Expected(-35, 48, change=12),
    ]
    feels_like_c: Annotated[
        float,
        Field(ge=-90, le=150, description="apparent temperature in degrees C"),
        Unit("degrees C"),
        Expected(-45, 60, change=14),
    ]
    humidity: Annotated[
        float | None,
        Field(ge=0, le=1, description="relative humidity, 0 to 1; null if unknown"),
        Expected(0.02, 1, change=0.5),
    ] = None
    windspeed_kmh: Annotated[
        float, Field(ge=0, le=400, description="wind in km/h"), Unit("km/h"), Expected(0, 130, change=60)
    ]


class Label(BaseModel):
    """What is known when the hour is over. `casual` and `registered` add up to the count."""

    casual: BikeCount | None = None
    registered: BikeCount | None = None
    count: Annotated[BikeCount, Field(description="bikes rented in the hour")]

    @model_validator(mode="after")
    def _parts_add_up(self) -> "Label":
        if (self.casual is None) != (self.registered is None):
            raise ValueError("casual and registered should both be given or both be empty")
        if self.casual is not None and self.registered is not None:
            total = self.casual + self.registered
            if total != self.count:
                raise ValueError(f"count is {self.count}, but casual and registered add up to {total}")
        return self
