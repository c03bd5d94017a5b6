"""Hourly demand of a bike-share service: the facts about its fields, features, target and behavior."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bike_demand.problem import PROBLEM
from bike_demand.problem.behavior import DAY_OFF, EXAMPLE, SLICES, WORKING_DAY, rows_of_day
from bike_demand.problem.features import features
from bike_demand.problem.schema import Inputs, Label
from bike_demand.problem.target import absolute_error, target
from tests.conftest import ROOT
from tests.problem.samples import columns_of, sample_rows

RANGES = {
    "holiday": (0, 1),
    "workingday": (0, 1),
    "weather": (1, 4),
    "temp_c": (-90, 150),
    "feels_like_c": (-90, 150),
    "humidity": (0, 1),
    "windspeed_kmh": (0, 400),
}
FIELDS = {each.name: each for each in PROBLEM.fields}


def refused(**changes: Any) -> list[str]:
    """The fields that are named when the example with these changes is checked."""
    with pytest.raises(ValidationError) as caught:
        Inputs.model_validate_json(json.dumps(EXAMPLE | changes), strict=True)
    return [str(error["loc"][0]) for error in caught.value.errors()]


def feature_values(**changes: Any) -> dict[str, float]:
    """The features of the example with these changes."""
    return {
        name: float(values[0]) for name, values in features(columns_of(PROBLEM, [EXAMPLE | changes])).items()
    }


# ---- schema


def test_the_example_is_accepted() -> None:
    row = Inputs.model_validate_json(json.dumps(EXAMPLE), strict=True)
    assert row.timestamp.hour == 17
    assert row.humidity == 0.55


@pytest.mark.parametrize(
    "change", [{"humidity": None}, {"temp_c": 95}, {"temp_c": -40.5}, {"windspeed_kmh": 0}]
)
def test_unknown_humidity_and_unusual_weather_are_accepted(change: dict[str, Any]) -> None:
    Inputs.model_validate_json(json.dumps(EXAMPLE | change), strict=True)


def test_only_humidity_may_be_null() -> None:
    assert [name for name, field in FIELDS.items() if field.nullable] == ["humidity"]


def test_each_field_has_its_valid_range() -> None:
    assert {name: field.valid for name, field in FIELDS.items()} == RANGES


@pytest.mark.parametrize("field", list(RANGES))
def test_a_value_beyond_the_valid_range_is_rejected(field: str) -> None:
    low, high = RANGES[field]
    assert refused(**{field: low - 1}) == [field]
    assert refused(**{field: high + 1}) == [field]


def test_bounds_of_expected_range_are_valid() -> None:
    for name, field in FIELDS.items():
        if field.expected:
            for value in (field.expected.low, field.expected.high):
                Inputs.model_validate_json(json.dumps(EXAMPLE | {name: value}), strict=True)


def test_the_kinds_of_weather_have_names() -> None:
    assert FIELDS["weather"].categories == ("clear", "mist", "light rain or snow", "heavy rain or snow")
    assert {name for name, field in FIELDS.items() if field.kind == "category"} == {
        "holiday",
        "workingday",
        "weather",
    }


@pytest.mark.parametrize(
    "timestamp", ["2012-06-13", "2012-06-13T17:30:00", "2012-06-13T17:00:00Z", "0001-01-01T00:00:00"]
)
def test_a_timestamp_that_is_not_a_local_full_hour_is_rejected(timestamp: str) -> None:
    assert refused(timestamp=timestamp) == ["timestamp"]


# ---- label


def test_the_label_is_the_count_and_not_its_parts() -> None:
    assert PROBLEM.label_name == "count"
    assert Label(count=8).casual is None


@pytest.mark.parametrize(
    ("casual", "registered", "message"),
    [(3, 4, "add up to 7"), (None, 8, "both be given"), (8, None, "both be given")],
)
def test_casual_and_registered_must_make_up_the_count(
    casual: int | None, registered: int | None, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Label(casual=casual, registered=registered, count=8)
    assert Label(casual=3, registered=5, count=8).count == 8


@pytest.mark.parametrize("count", [-1, 20_001, 10**30])
def test_a_count_beyond_its_valid_range_is_rejected(count: int) -> None:
    for field in ("count", "casual", "registered"):
        parts = {"casual": 1, "registered": 1, "count": 2, field: count}
        with pytest.raises(ValidationError) as caught:
            Label(**parts)
        assert field in [str(error["loc"][0]) for error in caught.value.errors() if error["loc"]]


# ---- features


def test_the_features_are_the_agreed_ones_in_their_order() -> None:
    assert feature_values(holiday=1, workingday=0, weather=3) == {
        "hour": 17,
        "weekday": 2,
        "workingday": 0,
        "holiday": 1,
        "weather": 3,
        "temp_c": 24.6,
        "feels_like_c": 26.1,
        "humidity": 0.55,
        "windspeed_kmh": 13.0,
    }
    assert list(feature_values())[:3] == ["hour", "weekday", "workingday"]


@pytest.mark.parametrize(
    ("timestamp", "hour", "weekday"),
    [
        ("2011-01-01T00:00:00", 0, 5),
        ("2012-02-29T23:00:00", 23, 2),
        ("1970-01-05T12:00:00", 12, 0),
        ("2012-12-30T06:00:00", 6, 6),
    ],
)
def test_hour_and_weekday_are_those_of_the_calendar(timestamp: str, hour: int, weekday: int) -> None:
    found = feature_values(timestamp=timestamp)
    assert (found["hour"], found["weekday"]) == (hour, weekday)


def test_features_do_not_depend_on_season_or_year() -> None:
    assert feature_values(timestamp="2011-01-05T17:00:00") == feature_values(timestamp="2012-07-04T17:00:00")


def test_unknown_humidity_is_nan() -> None:
    assert math.isnan(feature_values(humidity=None)["humidity"])


# ---- target and loss


def test_the_target_is_the_count_and_the_loss_its_absolute_error() -> None:
    np.testing.assert_array_equal(target(np.array([0.0, 7.0])), [0, 7])
    np.testing.assert_array_equal(absolute_error(np.array([3.0, 3.0]), np.array([5.0, 1.5])), [2, 1.5])


# ---- behavior


def test_slices_of_each_kind_partition_the_rows() -> None:
    columns = columns_of(PROBLEM, sample_rows(PROBLEM, 500))
    kinds = (list(SLICES)[:5], ["working days", "days off"], list(SLICES)[7:])
    assert [len(kind) for kind in kinds] == [5, 2, 4]
    for kind in kinds:
        assert (np.sum([SLICES[name](columns) for name in kind], axis=0) == 1).all()


def test_a_slice_of_the_day_holds_its_first_and_last_hour() -> None:
    columns = columns_of(PROBLEM, rows_of_day(WORKING_DAY))
    assert np.flatnonzero(SLICES["morning, 06:00 to 09:59"](columns)).tolist() == [6, 7, 8, 9]


def day(night: float, at_8: float, at_13: float, at_17: float) -> list[float]:
    """Predictions for the hours of a day."""
    return [{8: at_8, 13: at_13, 17: at_17}.get(hour, night) for hour in range(24)]


def failure_of(about: str, predictions: list[float]) -> str | None:
    """What the behavioral test with this word in its sentence says about predictions."""
    (test,) = [each for each in PROBLEM.behavior_tests if about in each.sentence]
    assert test.find_failure is not None
    return test.find_failure(predictions)


def test_flat_day_fails() -> None:
    good, flat = day(10, 300, 150, 300), day(150, 150, 150, 150)
    assert failure_of("03:00", good + good) is None
    assert DAY_OFF in (failure_of("03:00", good + flat) or "")
    assert WORKING_DAY in (failure_of("03:00", flat + good) or "")


def test_too_low_busy_hour_fails() -> None:
    assert failure_of("above 30", day(10, 300, 150, 300)) is None
    assert failure_of("above 30", day(1, 5, 4, 6))  # as from a model without its inverse link


def test_predictions_are_tried_in_any_weather() -> None:
    rows = next(each for each in PROBLEM.behavior_tests if each.find_failure is None).rows()
    assert {row["weather"] for row in rows} == {1, 2, 3, 4}
    assert None in {row["humidity"] for row in rows}


def test_the_request_in_the_readme_is_the_example() -> None:
    (body,) = re.findall(r"--data '(.*?)'", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert json.loads(body) == EXAMPLE
