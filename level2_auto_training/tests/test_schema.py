"""The one schema of requests and feed."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bike_demand.data.features import FEATURES
from bike_demand.data.schema import EXAMPLE, LIMITS, MAX_COUNT, OUTCOME_COLUMNS, Conditions, Hour


def refused(**changes: Any) -> list[str]:
    """The fields that are named when the example with these changes is checked as JSON."""
    with pytest.raises(ValidationError) as caught:
        Conditions.model_validate_json(json.dumps(EXAMPLE | changes))
    return [str(error["loc"][0]) for error in caught.value.errors()]


def test_the_example_is_accepted() -> None:
    row = Conditions.model_validate_json(json.dumps(EXAMPLE))
    assert row.timestamp.hour == 17
    assert row.humidity == 0.55


@pytest.mark.parametrize(
    "change", [{"humidity": None}, {"temp_c": 95}, {"temp_c": -40.5}, {"windspeed_kmh": 0}]
)
def test_unknown_humidity_and_unusual_values_are_accepted(change: dict[str, Any]) -> None:
    Conditions.model_validate_json(json.dumps(EXAMPLE | change))


def test_humidity_may_be_left_out() -> None:
    given = {name: value for name, value in EXAMPLE.items() if name != "humidity"}
    assert Conditions.model_validate_json(json.dumps(given)).humidity is None


@pytest.mark.parametrize("field", [name for name in EXAMPLE if name != "humidity"])
def test_any_other_field_is_needed(field: str) -> None:
    given = {name: value for name, value in EXAMPLE.items() if name != field}
    with pytest.raises(ValidationError, match=field):
        Conditions.model_validate_json(json.dumps(given))


@pytest.mark.parametrize("field", list(EXAMPLE))
@pytest.mark.parametrize("value", ["warm", True, [1], float("nan"), float("inf")])
def test_a_wrong_type_or_a_number_that_is_not_finite_is_refused(field: str, value: Any) -> None:
    assert refused(**{field: value}) == [field]


@pytest.mark.parametrize("field", list(LIMITS))
def test_a_number_as_text_is_refused(field: str) -> None:
    assert refused(**{field: str(EXAMPLE[field])}) == [field]


@pytest.mark.parametrize("field", list(LIMITS))
def test_what_is_far_outside_the_possible_is_refused(field: str) -> None:
    low, high = LIMITS[field]
    assert refused(**{field: low - 1}) == [field]
    assert refused(**{field: high + 1}) == [field]


@pytest.mark.parametrize(
    "timestamp",
    ["2012-06-13", "2012-06-13T17:30:00", "2012-06-13T17:00:00Z", "2012-13-01T00:00:00", 1339606800],
)
def test_a_timestamp_that_is_not_a_local_full_hour_is_refused(timestamp: Any) -> None:
    assert refused(timestamp=timestamp) == ["timestamp"]


@pytest.mark.parametrize(
    "timestamp",
    ["0001-01-01T00:00:00", "1970-01-01T23:00:00", "9999-12-31T23:00:00", "2012-06-13T17:00:00.5"],
)
def test_a_timestamp_that_is_no_moment_of_any_feed_is_refused(timestamp: str) -> None:
    assert refused(timestamp=timestamp) == ["timestamp"]


def test_backfills_and_forecasts_are_accepted() -> None:
    soon = datetime.now().replace(minute=0, second=0, microsecond=0) + timedelta(days=3652)
    for timestamp in ("1970-01-02T00:00:00", "2011-01-01T00:00:00", soon.isoformat()):
        Conditions.model_validate_json(json.dumps(EXAMPLE | {"timestamp": timestamp}))


@pytest.mark.parametrize("count", [-1, MAX_COUNT + 1, 3_000_000_000, 10**30, 10**400])
def test_a_count_beyond_its_limits_is_refused(count: int) -> None:
    for field in ("count", "casual", "registered"):
        given = EXAMPLE | {"casual": 1, "registered": 1, "count": 2, field: count}
        with pytest.raises(ValidationError) as caught:
            Hour.model_validate_json(json.dumps(given))
        assert field in [str(error["loc"][0]) for error in caught.value.errors() if error["loc"]]


@pytest.mark.parametrize("column", [*OUTCOME_COLUMNS, "temperature"])
def test_the_answer_and_unknown_fields_are_refused_in_a_request(column: str) -> None:
    assert refused(**{column: 3}) == [column]


def test_no_part_of_the_answer_is_a_feature() -> None:
    assert not set(FEATURES) & set(OUTCOME_COLUMNS)
    assert not set(Conditions.model_fields) & set(OUTCOME_COLUMNS)


@pytest.mark.parametrize(
    ("casual", "registered", "message"),
    [(3, 4, "add up to 7"), (None, 8, "both be given"), (8, None, "both be given")],
)
def test_casual_and_registered_must_make_up_the_count(
    casual: int | None, registered: int | None, message: str
) -> None:
    parts = {"casual": casual, "registered": registered, "count": 8}
    with pytest.raises(ValidationError, match=message):
        Hour.model_validate_json(json.dumps(EXAMPLE | parts))


def test_a_source_that_does_not_tell_casual_and_registered_is_accepted() -> None:
    assert Hour.model_validate_json(json.dumps(EXAMPLE | {"count": 8})).count == 8
