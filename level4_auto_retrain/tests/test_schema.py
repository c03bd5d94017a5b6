"""The one schema of requests and feed, as it is derived from the problem."""

import json
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bike_demand.core.current import FIELDS, LABEL_COLUMNS, Inputs, Row
from bike_demand.data.model_inputs import FEATURES
from tests.toy import EXAMPLE, MAX_AMOUNT

NUMBERS = [name for name, field in FIELDS.items() if field.kind not in ("boolean", "text")]


def refused(**changes: Any) -> list[str]:
    """The fields that are named when the example with these changes is checked as JSON."""
    with pytest.raises(ValidationError) as caught:
        Inputs.model_validate_json(json.dumps(EXAMPLE | changes))
    return [str(error["loc"][0]) for error in caught.value.errors()]


def test_the_example_is_accepted() -> None:
    row = Inputs.model_validate_json(json.dumps(EXAMPLE))
    assert row.begins == datetime(2012, 6, 13)
    assert row.moisture == 0.55


@pytest.mark.parametrize("change", [{"moisture": None}, {"heat": 95}, {"heat": -40.5}, {"speed": 0}])
def test_null_and_unusual_values_are_accepted(change: dict[str, Any]) -> None:
    Inputs.model_validate_json(json.dumps(EXAMPLE | change))


def test_a_field_with_a_default_may_be_left_out() -> None:
    given = {name: value for name, value in EXAMPLE.items() if name != "moisture"}
    assert Inputs.model_validate_json(json.dumps(given)).moisture is None


@pytest.mark.parametrize("field", [name for name in EXAMPLE if name != "moisture"])
def test_any_other_field_is_needed(field: str) -> None:
    given = {name: value for name, value in EXAMPLE.items() if name != field}
    with pytest.raises(ValidationError, match=field):
        Inputs.model_validate_json(json.dumps(given))


@pytest.mark.parametrize("field", list(EXAMPLE))
@pytest.mark.parametrize("value", ["", [1], float("nan"), float("inf")])
def test_a_wrong_type_or_a_number_that_is_not_finite_is_rejected(field: str, value: Any) -> None:
    assert refused(**{field: value}) == [field]


@pytest.mark.parametrize("field", ["begins", *NUMBERS])
def test_booleans_are_not_coerced(field: str) -> None:
    assert refused(**{field: True}) == [field]


@pytest.mark.parametrize("value", [0, 1, "true"])
def test_a_number_or_a_text_is_no_boolean(value: Any) -> None:
    assert refused(special=value) == ["special"]


@pytest.mark.parametrize("field", NUMBERS)
def test_a_number_as_text_is_rejected(field: str) -> None:
    assert refused(**{field: str(EXAMPLE[field])}) == [field]


@pytest.mark.parametrize("field", NUMBERS)
def test_a_number_beyond_its_valid_range_is_rejected(field: str) -> None:
    low, high = FIELDS[field].valid
    assert refused(**{field: low - 1}) == [field]
    assert refused(**{field: high + 1}) == [field]


@pytest.mark.parametrize(
    "time",
    ["2012-06-13", "2012-06-13T17:00:00", "2012-06-13T00:00:00Z", "2012-13-01T00:00:00", 1339606800],
)
def test_an_event_time_that_is_not_a_local_midnight_is_rejected(time: Any) -> None:
    assert refused(begins=time) == ["begins"]


@pytest.mark.parametrize(
    "time",
    ["0001-01-01T00:00:00", "1970-01-01T00:00:00", "9999-12-31T00:00:00", "2012-06-13T00:00:00.5"],
)
def test_implausible_event_time_is_rejected(time: str) -> None:
    assert refused(begins=time) == ["begins"]


def test_backfills_and_forecasts_are_accepted() -> None:
    soon = datetime.combine(date.today() + timedelta(days=3652), time())
    for moment in ("1970-01-02T00:00:00", "2011-01-01T00:00:00", soon.isoformat()):
        Inputs.model_validate_json(json.dumps(EXAMPLE | {"begins": moment}))


@pytest.mark.parametrize("amount", [-1, MAX_AMOUNT + 1, 3_000_000_000, 10**30, 10**400])
def test_a_label_beyond_its_valid_range_is_rejected(amount: int) -> None:
    for field in LABEL_COLUMNS:
        given = EXAMPLE | {"part_a": 1, "part_b": 1, "amount": 2, field: amount}
        with pytest.raises(ValidationError) as caught:
            Row.model_validate_json(json.dumps(given))
        assert field in [str(error["loc"][0]) for error in caught.value.errors() if error["loc"]]


@pytest.mark.parametrize("column", [*LABEL_COLUMNS, "temperature"])
def test_the_label_and_unknown_fields_are_rejected_in_a_request(column: str) -> None:
    assert refused(**{column: 3}) == [column]


def test_no_part_of_the_label_is_a_feature() -> None:
    assert not set(FEATURES) & set(LABEL_COLUMNS)
    assert not set(Inputs.model_fields) & set(LABEL_COLUMNS)


def test_a_rule_of_the_label_holds_for_rows_of_the_feed() -> None:
    parts = {"part_a": 3, "part_b": 4, "amount": 8}
    with pytest.raises(ValidationError, match="add up to 7"):
        Row.model_validate_json(json.dumps(EXAMPLE | parts))


def test_a_feed_that_does_not_give_the_parts_of_the_label_is_accepted() -> None:
    assert Row.model_validate_json(json.dumps(EXAMPLE | {"amount": 8})).amount == 8
