"""Random rows of any problem, from what it says about its fields."""

import json
import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from bike_demand.core.problem import Array, Columns, InputField, Problem

Row = Mapping[str, Any]
NULLS = 0.1  # the share of nulls where a field may be null


def sample_rows(problem: Problem, count: int, seed: int = 0) -> list[Row]:
    """So many valid rows, one after the other in time, as they stand in JSON."""
    rng = random.Random(seed)
    start = datetime(2012, 1, 1)
    rows: list[Row] = []
    step = problem.cadence or timedelta(hours=1)
    for number in range(count):
        row = {each.name: _value(each, rng) for each in problem.fields}
        rows.append({problem.time: (start + number * step).isoformat()} | row)
    return rows


def _value(field: InputField, rng: random.Random) -> Any:
    low, high = field.valid
    if field.expected:
        low, high = max(low, field.expected.low), min(high, field.expected.high)
    low, high = max(low, -1e6), min(high, 1e6)
    if field.nullable and rng.random() < NULLS:
        return None
    if field.kind == "number":
        return rng.uniform(low, high)
    if field.kind == "boolean":
        return rng.random() < 0.5
    if field.kind == "text":
        return rng.choice("abc")
    return rng.randint(math.ceil(low), math.floor(high))


def sample_labels(problem: Problem, count: int, seed: int = 0) -> Array:
    """So many valid labels, shape [count]."""
    rng = np.random.default_rng(seed)
    schema = problem.label.model_json_schema(by_alias=False)["properties"][problem.label_name]
    if schema["type"] == "boolean":
        return rng.integers(0, 2, count).astype(np.float64)
    low = max(schema.get("minimum", -1e6), problem.prediction_range[0])
    high = min(schema.get("maximum", 1e6), problem.prediction_range[1])
    if schema["type"] == "integer":
        return rng.integers(math.ceil(low), math.floor(high), count, endpoint=True).astype(np.float64)
    return rng.uniform(low, high, count)


def columns_of(problem: Problem, rows: Sequence[Row]) -> Columns:
    """Rows as `Problem.features` gets them, validated as the service does it. Raises ValidationError."""
    valid = [
        problem.inputs.model_validate_json(json.dumps(dict(row)), strict=True, extra="forbid", by_name=True)
        for row in rows
    ]
    columns: dict[str, Array] = {
        each.name: np.array([getattr(row, each.name) or "" for row in valid], dtype=object)
        if each.kind == "text"
        else np.array([getattr(row, each.name) for row in valid], dtype=np.float64)
        for each in problem.fields
    }
    times = [problem.event_time.to_local(getattr(row, problem.time)) for row in valid]
    columns[problem.time] = np.array(times, dtype="datetime64[s]")
    return columns


def table(features: Columns) -> pd.DataFrame:
    """Features as models get them: numbers as float32, then texts."""
    texts = {name: each for name, each in features.items() if each.dtype.kind in "OU"}
    numbers = {name: each.astype(np.float32) for name, each in features.items() if name not in texts}
    return pd.DataFrame(numbers | texts)
