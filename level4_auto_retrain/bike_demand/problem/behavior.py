"""Behavioral tests, evaluation slices and example requests."""

from collections.abc import Callable, Sequence
from typing import Any

from bike_demand.core.problem import Array, BehaviorTest, Columns
from bike_demand.problem.features import hour

Request = dict[str, Any]

EXAMPLE: Request = {
    "timestamp": "2012-06-13T17:00:00",
    "holiday": 0,
    "workingday": 1,
    "weather": 1,
    "temp_c": 24.6,
    "feels_like_c": 26.1,
    "humidity": 0.55,
    "windspeed_kmh": 13.0,
}
_NIGHT = {"timestamp": "2012-06-14T03:00:00", "temp_c": 19.2, "feels_like_c": 21.0, "humidity": 0.8}
MORE_EXAMPLES: dict[str, Request] = {
    "The station does not report humidity": EXAMPLE | {"humidity": None},
    "A summer night": EXAMPLE | _NIGHT,
}

WORKING_DAY, DAY_OFF = "2012-06-13", "2012-06-16"
MIN_BUSY = 30.0  # lower bound on demand at 17:00 on a warm and clear working day


def rows_of_day(day: str, **changes: Any) -> list[Request]:
    """The 24 rows of a day: the example's weather, with these changes."""
    row = EXAMPLE | {"workingday": int(day == WORKING_DAY)} | changes
    return [row | {"timestamp": f"{day}T{hour:02}:00:00"} for hour in range(24)]


def _any_weather() -> list[Request]:
    return [
        row
        for day in (WORKING_DAY, DAY_OFF)
        for weather in (1, 2, 3, 4)
        for temp in (-15.0, 5.0, 25.0, 40.0)
        for humidity in (0.55, None)
        for row in rows_of_day(day, weather=weather, temp_c=temp, feels_like_c=temp, humidity=humidity)[::2]
    ]


def _night_below_day(predictions: Sequence[float]) -> str | None:
    for day, start in ((WORKING_DAY, 0), (DAY_OFF, 24)):
        at_3, at_13, at_17 = (predictions[start + hour] for hour in (3, 13, 17))
        if not at_3 < min(at_13, at_17) / 2:
            return f"{day}: {at_3} bikes at 03:00, {at_13} at 13:00 and {at_17} at 17:00"
    return None


def _busy_hour(predictions: Sequence[float]) -> str | None:
    # A Poisson model exported without its inverse link predicts log counts: the shape of a day, far too low.
    busy = predictions[17]
    return None if busy > MIN_BUSY else f"{WORKING_DAY}, warm, clear: {busy} bikes at 17:00"


BEHAVIOR_TESTS = (
    BehaviorTest("Predictions stay in range in any weather.", _any_weather),
    BehaviorTest(
        "Demand at 03:00 is less than half of that at 13:00 and 17:00.",
        lambda: rows_of_day(WORKING_DAY) + rows_of_day(DAY_OFF),
        _night_below_day,
    ),
    BehaviorTest("Demand is above 30 bikes in a busy hour.", lambda: rows_of_day(WORKING_DAY), _busy_hour),
)


def _hours_between(first: int, last: int) -> Callable[[Columns], Array]:
    def chosen(columns: Columns) -> Array:
        at = hour(columns)
        return (first <= at) & (at <= last)

    return chosen


def _equals(name: str, value: int) -> Callable[[Columns], Array]:
    return lambda columns: columns[name] == value


SLICES: dict[str, Callable[[Columns], Array]] = {
    "night, 00:00 to 05:59": _hours_between(0, 5),
    "morning, 06:00 to 09:59": _hours_between(6, 9),
    "midday, 10:00 to 15:59": _hours_between(10, 15),
    "evening, 16:00 to 19:59": _hours_between(16, 19),
    "late, 20:00 to 23:59": _hours_between(20, 23),
    "working days": _equals("workingday", 1),
    "days off": _equals("workingday", 0),
    "clear": _equals("weather", 1),
    "mist": _equals("weather", 2),
    "light rain or snow": _equals("weather", 3),
    "heavy rain or snow": _equals("weather", 4),
}
