"""Turns rows into columns and columns into features, for training, batch scoring and the service alike."""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import numpy as np
from pydantic import ValidationError

from bike_demand.core.current import EVENT_TIME, FIELDS, NUMERIC_FIELDS, PROBLEM, TIME, Inputs, time_of
from bike_demand.core.errors import first_violation
from bike_demand.core.problem import Array, Columns

TENSOR_NAME = "features"  # of the input with all numbers: float32 [rows, numbers]; each text has its own
_EPOCH = datetime(1970, 1, 1)
TEXT_FIELDS = tuple(name for name in FIELDS if name not in NUMERIC_FIELDS)
# A problem may have no numbers.
_numbers_of: Any = attrgetter(*NUMERIC_FIELDS) if NUMERIC_FIELDS else lambda _: ()


def to_columns(rows: Sequence[Inputs]) -> Columns:
    """Input fields of rows: local event time as datetime64[s], texts as str, others as float64 with NaN."""
    # One array for all numbers is faster than one per field, for a one-row request.
    shape = (len(rows), len(NUMERIC_FIELDS))
    numbers = np.array([_numbers_of(row) for row in rows], dtype=np.float64).reshape(shape)
    columns: dict[str, Array] = dict(zip(NUMERIC_FIELDS, numbers.T, strict=True))
    for name in TEXT_FIELDS:
        columns[name] = np.array([getattr(row, name) or "" for row in rows], dtype=object)
    # Converted via seconds, because NumPy converts datetimes slowly.
    seconds = [_seconds(EVENT_TIME.to_local(time_of(row))) for row in rows]
    columns[TIME] = np.array(seconds, np.int64).view("datetime64[s]")
    return columns


def _seconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return since.days * 86400 + since.seconds


def _feature_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the numeric features, and those of the text features."""
    try:
        example = Inputs.model_validate_json(json.dumps(PROBLEM.example))
        features = PROBLEM.features(to_columns([example]))
        found = {name: column.dtype.kind for name, column in features.items()}
    except ValidationError as error:
        raise SystemExit(f"error: problem: example: {first_violation(error)}") from None
    except KeyError as error:
        raise SystemExit(f"error: problem: features: {error} is not an input field") from None
    except Exception as error:  # the problem's own code may raise anything
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SystemExit(f"error: problem: features: {message}") from error
    numbers = tuple(name for name, kind in found.items() if kind in "biuf")
    texts = tuple(name for name, kind in found.items() if kind in "OU")
    if others := [name for name in found if name not in numbers + texts]:
        raise SystemExit(f"error: problem: features: {others[0]} is neither a number nor a text")
    if TENSOR_NAME in texts:
        raise SystemExit(f"error: problem: features: the name {TENSOR_NAME} is reserved; rename the feature")
    return numbers, texts


_numbers, TEXT_FEATURES = _feature_names()
ALL_FEATURES = _numbers + TEXT_FEATURES
FEATURES = tuple(name for name in ALL_FEATURES if name not in PROBLEM.retired)  # used in training
NUMERIC_FEATURES = tuple(name for name in FEATURES if name not in TEXT_FEATURES)


def to_tensors(columns: Columns, names: Sequence[str] = FEATURES) -> dict[str, Array]:
    """Compute features from input columns, shaped as the model's inputs.

    All numbers form one float32 matrix of shape [rows, numbers], which is faster than one input per number.
    Each text has shape [rows, 1].
    """
    features = PROBLEM.features(columns)
    numbers = [name for name in names if name not in TEXT_FEATURES]
    matrix = np.empty((len(columns[TIME]), len(numbers)), dtype=np.float32)
    for position, name in enumerate(numbers):
        matrix[:, position] = features[name]
    texts = {name: features[name].astype(object).reshape(-1, 1) for name in TEXT_FEATURES if name in names}
    return {TENSOR_NAME: matrix, **texts} if numbers else texts


def feature_specs(names: Sequence[str] = FEATURES) -> list[dict[str, Any]]:
    """Describe features in order, for the manifest: name, type, unit, valid range, nullable.

    For derived features, unit and range are empty and `nullable` is False.
    """
    return [
        {
            "name": name,
            "type": "string" if name in TEXT_FEATURES else "float32",
            "unit": field.unit if field else "",
            "min": field.valid[0] if field and math.isfinite(field.valid[0]) else None,
            "max": field.valid[1] if field and math.isfinite(field.valid[1]) else None,
            "nullable": field.nullable if field else False,
        }
        for name in names
        for field in [FIELDS.get(name)]
    ]
