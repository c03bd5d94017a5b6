"""What the model sees of a row."""

import csv
import json
import math
from datetime import datetime
from pathlib import Path

import numpy as np

from bike_demand.core.current import Inputs
from bike_demand.data.frames import input_columns
from bike_demand.data.model_inputs import (
    FEATURES,
    NUMERIC_FEATURES,
    TENSOR_NAME,
    feature_specs,
    to_columns,
    to_tensors,
)
from bike_demand.data.table import read_month_file
from tests.feedmaker import write_feed
from tests.toy import EXAMPLE, MACHINES


def test_features_keep_the_problem_order() -> None:
    assert FEATURES == (
        "position",
        "day",
        "attended",
        "special",
        "grade",
        "heat",
        "core_heat",
        "moisture",
        "speed",
        "material",
    )
    assert [each["name"] for each in feature_specs()] == list(FEATURES)


def test_a_row_becomes_float32_values_in_that_order() -> None:
    row = Inputs.model_validate_json(json.dumps(EXAMPLE | {"special": True, "attended": 0, "grade": 3}))
    X = to_tensors(to_columns([row]))[TENSOR_NAME]
    assert X.dtype == np.float32
    assert X.tolist() == np.array([[17, 2, 0, 1, 3, 24.6, 26.1, 0.55, 13.0]], dtype=np.float32).tolist()


def test_the_features_that_a_model_takes_may_be_fewer_and_in_another_order() -> None:
    row = Inputs.model_validate_json(json.dumps(EXAMPLE))
    assert to_tensors(to_columns([row]), ("speed", "position"))[TENSOR_NAME].tolist() == [[13.0, 17.0]]


def test_null_becomes_nan() -> None:
    row = Inputs.model_validate_json(json.dumps(EXAMPLE | {"moisture": None}))
    assert math.isnan(to_tensors(to_columns([row]))[TENSOR_NAME][0, NUMERIC_FEATURES.index("moisture")])


def test_empty_input_gives_an_empty_matrix() -> None:
    assert to_tensors(to_columns([]))[TENSOR_NAME].shape == (0, 9)


def test_columns_are_the_inputs_of_rows_by_name() -> None:
    row = Inputs.model_validate_json(json.dumps(EXAMPLE))
    columns = to_columns([row, row])
    assert columns.keys() == set(EXAMPLE)
    assert columns["begins"].dtype == "datetime64[s]"
    assert columns["begins"].astype(str).tolist() == [EXAMPLE["begins"]] * 2
    assert columns["material"].tolist() == ["steel", "steel"]
    assert {columns[name].dtype for name in EXAMPLE if name not in ("begins", "machine", "material")} == {
        np.dtype(np.float64)
    }
    assert (columns["special"].tolist(), columns["heat"].tolist()) == ([0, 0], [24.6, 24.6])


def test_features_of_a_month_match_its_columns(tmp_path: Path) -> None:
    path = write_feed(tmp_path, ["2011-02"]) / "2011-02.csv"
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    expected = [
        [
            MACHINES.index(record["machine"]),
            datetime.fromisoformat(record["begins"]).weekday(),
            *(float(json.loads(record[name] or "NaN")) for name in NUMERIC_FEATURES[2:]),
        ]
        for record in records
    ]
    inputs = to_tensors(input_columns(read_month_file(path.read_bytes(), "2011-02", "feed")))
    assert any(record["moisture"] == "" for record in records)
    np.testing.assert_array_equal(inputs[TENSOR_NAME], np.array(expected, dtype=np.float32))
    assert inputs["material"].tolist() == [[record["material"]] for record in records]
