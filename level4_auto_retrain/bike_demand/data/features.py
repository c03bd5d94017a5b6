"""Rows as columns, and the features that models see of them: for training, batch scoring and the service."""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from bike_demand.core.current import FIELDS, NUMERIC, PROBLEM, TIME, Inputs, time_of
from bike_demand.core.problem import Array, Columns

_EPOCH = datetime(1970, 1, 1)
_TEXTS = tuple(name for name in FIELDS if name not in NUMERIC)
_numbers_of: Any = attrgetter(*NUMERIC) if NUMERIC else lambda _: ()  # a problem may have none


def to_columns(rows: Sequence[Inputs]) -> Columns:
    """The input fields of rows: event time as datetime64[s], others but text as float64, null as NaN."""
    # One array for all numbers: an array for each would take three times as long for the row of a request.
    numbers = np.array([_numbers_of(row) for row in rows], dtype=np.float64).reshape(len(rows), len(NUMERIC))
    columns: dict[str, Array] = dict(zip(NUMERIC, numbers.T, strict=True))
    for name in _TEXTS:
        columns[name] = np.array([getattr(row, name) or "" for row in rows], dtype=object)
    # By way of seconds, as NumPy takes ten times as long to read a datetime.
    seconds = [_seconds(time_of(row)) for row in rows]
    columns[TIME] = np.array(seconds, dtype=np.int64).view("datetime64[s]")
    return columns


def _seconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return since.days * 86400 + since.seconds


def _names() -> tuple[str, ...]:
    example = Inputs.model_validate_json(json.dumps(PROBLEM.example))
    try:
        found = PROBLEM.features(to_columns([example]))
    except KeyError as error:
        raise SystemExit(f"error: problem: features: {error} is no input, and models see no more") from None
    if texts := [name for name, column in found.items() if column.dtype.kind not in "biuf"]:
        raise SystemExit(f"error: problem: features: {texts[0]} is no number; give models numbers")
    return tuple(found)


FEATURES = _names()


def to_matrix(columns: Columns, names: Sequence[str] = FEATURES) -> npt.NDArray[np.float32]:
    """These features of the rows with these columns of inputs, shape [rows, names]."""
    features = PROBLEM.features(columns)
    matrix = np.empty((len(columns[TIME]), len(names)), dtype=np.float32)
    for position, name in enumerate(names):
        matrix[:, position] = features[name]
    return matrix


def describe() -> list[dict[str, Any]]:
    """The features in order, for whoever receives a model: name, type, unit, valid range, may it be null.

    Of a feature that is no input field only the name is known.
    """
    return [
        {
            "name": name,
            "type": "float32",
            "unit": field.unit if field else "",
            "min": field.valid[0] if field and math.isfinite(field.valid[0]) else None,
            "max": field.valid[1] if field and math.isfinite(field.valid[1]) else None,
            "nullable": field.nullable if field else False,
        }
        for name in FEATURES
        for field in [FIELDS.get(name)]
    ]
