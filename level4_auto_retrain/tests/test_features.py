"""What the model sees of a row."""

import csv
import json
import math
from datetime import datetime
from pathlib import Path

import numpy as np

from bike_demand.data.features import FEATURES, describe, to_matrix
from bike_demand.data.month import parse_month
from bike_demand.data.schema import EXAMPLE, Conditions
from tests.feedmaker import write_feed


def test_features_stand_in_the_order_of_the_recipe() -> None:
    assert FEATURES == (
        "hour",
        "weekday",
        "workingday",
        "holiday",
        "weather",
        "temp_c",
        "feels_like_c",
        "humidity",
        "windspeed_kmh",
    )
    assert [each["name"] for each in describe()] == list(FEATURES)


def test_a_row_becomes_float32_values_in_that_order() -> None:
    row = Conditions.model_validate_json(json.dumps(EXAMPLE | {"holiday": 1, "workingday": 0, "weather": 3}))
    X = to_matrix([row])
    assert X.dtype == np.float32
    assert X.tolist() == np.array([[17, 2, 0, 1, 3, 24.6, 26.1, 0.55, 13.0]], dtype=np.float32).tolist()


def test_unknown_humidity_becomes_nan() -> None:
    row = Conditions.model_validate_json(json.dumps(EXAMPLE | {"humidity": None}))
    assert math.isnan(to_matrix([row])[0, FEATURES.index("humidity")])


def test_no_rows_make_an_empty_table() -> None:
    assert to_matrix([]).shape == (0, 9)


def test_a_month_of_the_feed_becomes_what_its_columns_say(tmp_path: Path) -> None:
    path = write_feed(tmp_path, ["2011-02"]) / "2011-02.csv"
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    expected = [
        [
            datetime.fromisoformat(record["timestamp"]).hour,
            datetime.fromisoformat(record["timestamp"]).weekday(),
            *(float(record[name] or "nan") for name in FEATURES[2:]),
        ]
        for record in records
    ]
    X = to_matrix(parse_month(path.read_bytes(), "2011-02", "feed"))
    assert any(record["humidity"] == "" for record in records)
    np.testing.assert_array_equal(X, np.array(expected, dtype=np.float32))
