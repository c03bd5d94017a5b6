"""Electricity load: the facts about its fields, features, target and behavior."""

import json
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bike_demand.problem import PROBLEM
from bike_demand.problem.behavior import EXAMPLE, SLICES, periods
from bike_demand.problem.features import features
from bike_demand.problem.schema import Inputs, Label
from bike_demand.problem.target import absolute_error, target
from tests.problem.samples import columns_of, sample_rows

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


def test_rows_are_identified_by_half_hour_and_region() -> None:
    assert (PROBLEM.time, PROBLEM.keys, PROBLEM.label_name) == ("period_start", ("region",), "load_mw")
    assert FIELDS["region"].categories == ("north", "south", "west")


@pytest.mark.parametrize("change", [{"temperature_c": None}, {"solar_mw": 61_500.0}, {"temperature_c": 95}])
def test_unknown_temperatures_and_kilowatts_are_accepted(change: dict[str, Any]) -> None:
    Inputs.model_validate_json(json.dumps(EXAMPLE | change), strict=True)


def test_only_the_temperature_may_be_null() -> None:
    assert [name for name, field in FIELDS.items() if field.nullable] == ["temperature_c"]


@pytest.mark.parametrize(
    "change", [{"region": 0}, {"region": 4}, {"solar_mw": -0.1}, {"temperature_c": -91}, {"holiday": None}]
)
def test_a_value_beyond_the_valid_range_is_rejected(change: dict[str, Any]) -> None:
    assert refused(**change) == list(change)


@pytest.mark.parametrize(
    "period_start", ["14.06.2023", "2023-06-14T17:15:00", "2023-03-26T02:30:00", "0001-01-01T00:00:00"]
)
def test_a_time_that_is_not_a_local_half_hour_is_refused(period_start: str) -> None:
    assert refused(period_start=period_start) == ["period_start"]


@pytest.mark.parametrize("load", [-1.0, 1e8])
def test_a_load_beyond_its_valid_range_is_refused(load: float) -> None:
    with pytest.raises(ValidationError):
        Label(load_mw=load)


# ---- features


def test_feature_names_and_order() -> None:
    assert feature_values() == {
        "half_hour": 35,
        "weekday": 2,
        "region": 1,
        "holiday": 0,
        "solar_mw": 61.5,
        "temperature_c": 19.4,
    }


@pytest.mark.parametrize(
    ("period_start", "half_hour", "weekday"),
    [
        ("2023-01-01T00:00:00", 0, 6),
        ("2024-02-29T23:30:00", 47, 3),
        ("1970-01-05T12:00:00", 24, 0),
        ("2023-03-26T03:00:00", 6, 6),  # the first after the hour that clocks skip
        ("2023-10-29T02:00:00+01:00", 4, 6),  # clocks repeat it
        ("2023-06-14T23:30:00Z", 3, 3),
    ],
)
def test_half_hour_and_weekday_are_those_of_the_local_clock(
    period_start: str, half_hour: int, weekday: int
) -> None:
    found = feature_values(period_start=period_start)
    assert (found["half_hour"], found["weekday"]) == (half_hour, weekday)


def test_an_unknown_temperature_is_nan() -> None:
    assert math.isnan(feature_values(temperature_c=None)["temperature_c"])


# ---- target and loss


def test_the_target_is_the_load_and_the_loss_its_absolute_error() -> None:
    np.testing.assert_array_equal(target(np.array([0.0, 7.5])), [0, 7.5])
    np.testing.assert_array_equal(absolute_error(np.array([3.0, 3.0]), np.array([5.0, 1.5])), [2, 1.5])
    assert PROBLEM.average_by == "region"


# ---- behavior


def test_every_row_is_in_one_region_and_one_part_of_the_day() -> None:
    columns = columns_of(PROBLEM, sample_rows(PROBLEM, 500))
    for kind in (list(SLICES)[:3], list(SLICES)[3:6]):
        assert (np.sum([SLICES[name](columns) for name in kind], axis=0) == 1).all()


def failure_of(about: str, predictions: list[float]) -> str | None:
    """What the behavioral test with this word in its sentence says about predictions."""
    (test,) = [each for each in PROBLEM.behavior_tests if about in each.sentence]
    assert test.find_failure is not None
    return test.find_failure(predictions)


def test_nights_are_below_evenings_in_each_region() -> None:
    good, flat = [float(hour) for hour in range(24)], [10.0] * 24
    assert failure_of("03:00", good * 3) is None
    assert "west" in (failure_of("03:00", good * 2 + flat) or "")


def test_cold_days_need_more() -> None:
    assert failure_of("cold", [10.0] * 24 + [12.0] * 24) is None
    assert failure_of("cold", [10.0] * 48)
    assert len(periods()) == 24
