"""Customers who leave: the facts about the fields, features, target, metrics and behavior."""

import json
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bike_demand.problem import PROBLEM
from bike_demand.problem.behavior import EXAMPLE, SLICES
from bike_demand.problem.features import NUMBERS, TEXTS, features
from bike_demand.problem.schema import Inputs, Label
from bike_demand.problem.target import calibration_error, roc_auc, squared_error, target
from tests.problem.samples import columns_of

FIELDS = {each.name: each for each in PROBLEM.fields}


def refused(**changes: Any) -> list[str]:
    """The fields that are named when the example with these changes is checked."""
    with pytest.raises(ValidationError) as caught:
        Inputs.model_validate_json(json.dumps(EXAMPLE | changes), strict=True)
    return [str(error["loc"][0]) for error in caught.value.errors()]


# ---- schema


def test_rows_are_identified_by_time_and_customer() -> None:
    assert (PROBLEM.time, PROBLEM.keys, PROBLEM.label_name) == ("billed_at", ("customer",), "left")
    assert PROBLEM.cadence is None
    assert PROBLEM.delay.days == 30


def test_twelve_fields_five_of_them_texts_are_inputs_besides_the_key() -> None:
    kinds = [field.kind for name, field in FIELDS.items() if name != "customer"]
    assert (len(kinds), kinds.count("text"), kinds.count("boolean")) == (12, 5, 2)
    assert [name for name, field in FIELDS.items() if field.nullable] == ["usage_gb"]


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_nobody_has_seen_is_accepted_and_an_empty_one_is_not(name: str) -> None:
    Inputs.model_validate_json(json.dumps(EXAMPLE | {name: "never seen"}), strict=True)
    assert refused(**{name: ""}) == [name]


@pytest.mark.parametrize(
    "change",
    [{"months": -1}, {"monthly_fee": -0.1}, {"support_calls": 1.5}, {"has_tv": None}, {"customer": 0}],
)
def test_a_value_beyond_the_valid_range_is_rejected(change: dict[str, Any]) -> None:
    assert refused(**change) == list(change)


def test_the_label_is_yes_or_no() -> None:
    assert Label(left=True).left
    with pytest.raises(ValidationError):
        Label.model_validate({"left": "perhaps"})


# ---- features


def test_features_are_numbers_and_then_texts_as_they_are() -> None:
    found = features(columns_of(PROBLEM, [EXAMPLE | {"device": "never seen"}]))
    assert list(found) == [*NUMBERS, *TEXTS]
    assert [found[name][0] for name in TEXTS] == ["month to month", "fibre", "card", "coast", "never seen"]
    assert (found["months"][0], found["has_tv"][0]) == (7, 0)


def test_unmetered_use_is_nan() -> None:
    found = features(columns_of(PROBLEM, [EXAMPLE | {"usage_gb": None}]))
    assert math.isnan(found["usage_gb"][0])


# ---- target, loss and metrics


def test_the_target_is_the_label_and_the_loss_the_squared_error() -> None:
    np.testing.assert_array_equal(target(np.array([0.0, 1.0])), [0, 1])
    np.testing.assert_allclose(squared_error(np.array([0.3, 0.9]), np.array([1.0, 1.0])), [0.49, 0.01])


def test_the_area_under_the_curve_counts_pairs_in_the_right_order() -> None:
    targets = np.array([0.0, 0.0, 1.0, 1.0])
    assert roc_auc(np.array([0.1, 0.2, 0.8, 0.9]), targets) == 1
    assert roc_auc(np.array([0.9, 0.8, 0.2, 0.1]), targets) == 0
    assert roc_auc(np.array([0.1, 0.4, 0.35, 0.8]), targets) == 0.75
    assert roc_auc(np.full(4, 0.5), targets) == 0.5
    assert math.isnan(roc_auc(np.full(4, 0.5), np.zeros(4)))


def test_the_calibration_error_is_zero_for_the_right_shares() -> None:
    predictions = np.repeat([0.25, 0.75], 20)
    targets = np.concatenate([np.tile([1.0, 0, 0, 0], 5), np.tile([1.0, 1, 1, 0], 5)])
    assert calibration_error(predictions, targets) == 0
    assert calibration_error(np.full(40, 0.9), targets) == pytest.approx(0.4)


# ---- behavior


def test_every_row_is_in_at_most_one_slice_of_each_text() -> None:
    columns = columns_of(PROBLEM, [EXAMPLE, EXAMPLE | {"contract": "never seen", "internet": "none"}])
    assert np.sum([SLICES[name](columns) for name in list(SLICES)[:3]], axis=0).tolist() == [1, 0]
    assert np.sum([SLICES[name](columns) for name in list(SLICES)[3:7]], axis=0).tolist() == [1, 1]


def test_two_year_customers_leave_less_often() -> None:
    (test,) = [each for each in PROBLEM.behavior_tests if each.find_failure]
    assert test.find_failure is not None
    half = len(test.rows()) // 2
    assert test.find_failure([0.3] * half + [0.1] * half) is None
    assert test.find_failure([0.1] * half + [0.3] * half)
