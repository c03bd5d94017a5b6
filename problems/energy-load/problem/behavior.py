"""Behavioral tests, the slices on which a model is evaluated, and example requests."""

from collections.abc import Callable, Sequence
from typing import Any

from bike_demand.core.problem import Array, BehaviorTest, Columns
from bike_demand.problem.features import half_hour, weekday
from bike_demand.problem.schema import REGIONS

Request = dict[str, Any]

EXAMPLE: Request = {
    "period_start": "2023-06-14T17:30:00",
    "region": 1,
    "holiday": False,
    "solar_mw": 61.5,
    "temperature_c": 19.4,
}
MORE_EXAMPLES: dict[str, Request] = {
    "Unknown temperature": EXAMPLE | {"temperature_c": None},
    "A winter night in the west": EXAMPLE
    | {"period_start": "2023-01-18T03:00:00", "region": 3, "solar_mw": 0.0, "temperature_c": -4.0},
}
WORKING_DAY = "2023-01-18"


def periods(**changes: Any) -> list[Request]:
    """The 24 full hours of a winter's working day, with the changes."""
    row = EXAMPLE | {"solar_mw": 0.0, "temperature_c": 2.0} | changes
    return [row | {"period_start": f"{WORKING_DAY}T{hour:02}:00:00"} for hour in range(24)]


def _varied_weather() -> list[Request]:
    return [
        row | {"temperature_c": temperature, "solar_mw": solar}
        for region in (1, 2, 3)
        for temperature in (-25.0, 0.0, 15.0, 40.0, None)
        for solar in (0.0, 150.0)
        for row in periods(region=region)[::3]
    ]


def _night_below_evening(predictions: Sequence[float]) -> str | None:
    for number, region in enumerate(REGIONS):
        at_3, at_18 = (predictions[24 * number + hour] for hour in (3, 18))
        if not at_3 < at_18:
            return f"{region}: {at_3} MW at 03:00 and {at_18} at 18:00"
    return None


def _cold_above_mild(predictions: Sequence[float]) -> str | None:
    mild, cold = sum(predictions[:24]), sum(predictions[24:])
    return None if cold > mild else f"{cold:.0f} MW at -8 degrees and {mild:.0f} at 14"


BEHAVIOR_TESTS = (
    BehaviorTest("Predicted loads are valid in any weather.", _varied_weather),
    BehaviorTest(
        "In each region, the load at 03:00 is lower than at 18:00 on a working day.",
        lambda: [row for region in (1, 2, 3) for row in periods(region=region)],
        _night_below_evening,
    ),
    BehaviorTest(
        "Load is higher on cold days than on mild ones.",
        lambda: periods(temperature_c=14.0) + periods(temperature_c=-8.0),
        _cold_above_mild,
    ),
)


def _in(region: int) -> Callable[[Columns], Array]:
    return lambda columns: columns["region"] == region


def _between(first: int, last: int) -> Callable[[Columns], Array]:
    def chosen(columns: Columns) -> Array:
        at = half_hour(columns)
        return (first <= at) & (at <= last)

    return chosen


SLICES: dict[str, Callable[[Columns], Array]] = {
    **{name: _in(number) for number, name in enumerate(REGIONS, start=1)},
    "night, 0 to 6 h": _between(0, 11),
    "day, 6 to 18 h": _between(12, 35),
    "evening, 18 to 24 h": _between(36, 47),
    "weekends": lambda columns: weekday(columns) >= 5,
    "holidays": lambda columns: columns["holiday"] == 1,
    "frost": lambda columns: columns["temperature_c"] < 0,
}
