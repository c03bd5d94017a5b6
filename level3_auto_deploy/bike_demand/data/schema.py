"""What one row is: the same schema for requests to the service and for the operator's feed."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NaiveDatetime, model_validator

# What is possible at all. Merely unusual values pass: a station that reports Fahrenheit must not stop anyone.
LIMITS: dict[str, tuple[float, float]] = {
    "holiday": (0, 1),
    "workingday": (0, 1),
    "weather": (1, 4),
    "temp_c": (-90, 150),
    "feels_like_c": (-90, 150),
    "humidity": (0, 1),
    "windspeed_kmh": (0, 400),
}

# Event times: 0001-01-01 is an unset date, not a moment. Far enough for any backfill and any forecast.
EARLIEST, AHEAD = datetime(1970, 1, 2), timedelta(days=3653)  # ten years after now
MAX_COUNT = 20_000  # of the feed and of reported outcomes

MAX_ROWS = 1000  # of one request, so that it keeps others waiting for a few milliseconds at most

EXAMPLE: dict[str, Any] = {
    "timestamp": "2012-06-13T17:00:00",
    "holiday": 0,
    "workingday": 1,
    "weather": 1,
    "temp_c": 24.6,
    "feels_like_c": 26.1,
    "humidity": 0.55,
    "windspeed_kmh": 13.0,
}


def in_window(moment: datetime) -> bool:
    """Whether a moment may be an event time, by this machine's clock."""
    return EARLIEST <= moment <= datetime.now() + AHEAD


def _event_hour(value: datetime) -> datetime:
    if value.minute or value.second or value.microsecond:
        raise ValueError("should be a full hour, like 2012-06-13T17:00:00")
    if not in_window(value):
        raise ValueError(f"should lie between {EARLIEST:%Y-%m-%d} and ten years from now")
    return value


def _field(name: str, description: str) -> Any:
    low, high = LIMITS[name]
    return Field(ge=low, le=high, description=description)


EventHour = Annotated[
    NaiveDatetime, AfterValidator(_event_hour), Field(description="start of the hour, local time, no zone")
]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT, description="bikes rented in the hour")]


class Conditions(BaseModel):
    """One hour for which demand is asked: when it is, and its weather."""

    # strict: "1" is not 1 and true is not a number, so a client's mistake shows at once.
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, json_schema_extra={"example": EXAMPLE}
    )

    timestamp: EventHour
    holiday: Annotated[int, _field("holiday", "1 on a public holiday")]
    workingday: Annotated[int, _field("workingday", "1 on neither a weekend nor a holiday")]
    weather: Annotated[int, _field("weather", "1 clear, 2 mist, 3 light rain or snow, 4 heavy")]
    temp_c: Annotated[float, _field("temp_c", "air temperature in degrees C")]
    feels_like_c: Annotated[float, _field("feels_like_c", "felt temperature in degrees C")]
    humidity: Annotated[float, _field("humidity", "relative humidity, 0 to 1; null if unknown")] | None = None
    windspeed_kmh: Annotated[float, _field("windspeed_kmh", "wind in km/h")]


class Hour(Conditions):
    """One hour of the feed: its conditions and how many bikes were rented.

    `casual` and `registered` add up to `count`, so they never are inputs of a model: with them it would be
    told the answer.
    """

    casual: Count | None = None
    registered: Count | None = None
    count: Count

    @model_validator(mode="after")
    def _parts_add_up(self) -> "Hour":
        if (self.casual is None) != (self.registered is None):
            raise ValueError("casual and registered should both be given or both be empty")
        if self.casual is not None and self.registered is not None:
            total = self.casual + self.registered
            if total != self.count:
                raise ValueError(f"count is {self.count}, but casual and registered add up to {total}")
        return self


CONDITION_COLUMNS = tuple(Conditions.model_fields)
OUTCOME_COLUMNS = ("casual", "registered", "count")
