"""What the model sees of a row."""

import csv
import json
import math
from datetime import datetime
from pathlib import Path

import numpy as np

from bike_demand.core.current import Inputs
from bike_demand.data.features import FEATURES, INPUT_NAME, NUMBERS, describe, to_columns, to_inputs
from bike_demand.data.frames import columns_of
from bike_demand.data.table import read_published
from tests.feedmaker import write_feed
from tests.toy import EXAMPLE, MACHINES


def test_features_stand_in_the_order_of_the_problem() -> None:
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
    assert [each["name"] for each in describe()] == list(FEATURES)


def test_a_row_becomes_float32_values_in_that_order() -> None:
    row = Inputs.model_validate_json(json.dumps(EXAMPLE | {"special": True, "attended": 0, "grade": 3}))
    X = to_inputs(to_columns([row]))[INPUT_NAME]
    assert X.dtype == np.float32
    assert X.tolist() == np.array([[17, 2, 0, 1, 3, 24.6, 26.1, 0.55, 13.0]], dtype=np.float32).tolist()


def test_the_features_that_a_model_takes_may_be_fewer_and_in_another_order() -> None:
    row = Inputs.model_validate_json(json.dumps(EXAMPLE))
    assert to_inputs(to_columns([row]), ("speed", "position"))[INPUT_NAME].tolist() == [[13.0, 17.0]]


def test_null_becomes_nan() -> None:
    row = Inputs.model_validate_json(json.dumps(EXAMPLE | {"moisture": None}))
    assert math.isnan(to_inputs(to_columns([row]))[INPUT_NAME][0, NUMBERS.index("moisture")])


def test_no_rows_make_an_empty_table() -> None:
    assert to_inputs(to_columns([]))[INPUT_NAME].shape == (0, 9)


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


def test_a_month_of_the_feed_becomes_what_its_columns_say(tmp_path: Path) -> None:
    path = write_feed(tmp_path, ["2011-02"]) / "2011-02.csv"
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    expected = [
        [
            MACHINES.index(record["machine"]),
            datetime.fromisoformat(record["begins"]).weekday(),
            *(float(json.loads(record[name] or "NaN")) for name in NUMBERS[2:]),
        ]
        for record in records
    ]
    inputs = to_inputs(columns_of(read_published(path.read_bytes(), "2011-02", "feed")))
    assert any(record["moisture"] == "" for record in records)
    np.testing.assert_array_equal(inputs[INPUT_NAME], np.array(expected, dtype=np.float32))
    assert inputs["material"].tolist() == [[record["material"]] for record in records]
