"""What any good model gets right, the slices on which it is judged, and requests to show."""

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
BUSY = 30.0  # bikes at 17 h on a warm and clear working day are more than that


def hours(day: str, **changes: Any) -> list[Request]:
    """The 24 rows of a day, with weather as in the example but for the changes."""
    row = EXAMPLE | {"workingday": int(day == WORKING_DAY)} | changes
    return [row | {"timestamp": f"{day}T{hour:02}:00:00"} for hour in range(24)]


def _any_weather() -> list[Request]:
    return [
        row
        for day in (WORKING_DAY, DAY_OFF)
        for weather in (1, 2, 3, 4)
        for temp in (-15.0, 5.0, 25.0, 40.0)
        for humidity in (0.55, None)
        for row in hours(day, weather=weather, temp_c=temp, feels_like_c=temp, humidity=humidity)[::2]
    ]


def _night_from_day(predictions: Sequence[float]) -> str | None:
    for day, start in ((WORKING_DAY, 0), (DAY_OFF, 24)):
        at_3, at_13, at_17 = (predictions[start + hour] for hour in (3, 13, 17))
        if not at_3 < min(at_13, at_17) / 2:
            return f"{day}: {at_3} bikes at 3 h, {at_13} at 13 h and {at_17} at 17 h"
    return None


def _busy_hour(predictions: Sequence[float]) -> str | None:
    # A model that lost its exponential keeps the shape of a day, at low predictions.
    return (
        None if predictions[17] > BUSY else f"{WORKING_DAY}, warm and clear: {predictions[17]} bikes at 17 h"
    )


BEHAVIOR_TESTS = (
    BehaviorTest("It predicts possible numbers in any weather.", _any_weather),
    BehaviorTest(
        "It predicts less at 3 h than at 13 h and 17 h; habits change, so it need not know more.",
        lambda: hours(WORKING_DAY) + hours(DAY_OFF),
        _night_from_day,
    ),
    BehaviorTest("It knows a busy hour.", lambda: hours(WORKING_DAY), _busy_hour),
)


def _between(first: int, last: int) -> Callable[[Columns], Array]:
    def chosen(columns: Columns) -> Array:
        at = hour(columns)
        return (first <= at) & (at <= last)

    return chosen


def _where(name: str, value: int) -> Callable[[Columns], Array]:
    return lambda columns: columns[name] == value


SLICES: dict[str, Callable[[Columns], Array]] = {
    "night, 0 to 5 h": _between(0, 5),
    "morning, 6 to 9 h": _between(6, 9),
    "midday, 10 to 15 h": _between(10, 15),
    "evening, 16 to 19 h": _between(16, 19),
    "late, 20 to 23 h": _between(20, 23),
    "working days": _where("workingday", 1),
    "days off": _where("workingday", 0),
    "clear": _where("weather", 1),
    "mist": _where("weather", 2),
    "light rain or snow": _where("weather", 3),
    "heavy weather": _where("weather", 4),
}
