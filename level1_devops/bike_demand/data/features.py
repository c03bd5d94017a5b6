"""Turns rows into columns and columns into features, for training, batch scoring and the service alike."""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import numpy as np
from pydantic import ValidationError

from bike_demand.core.current import EVENT_TIME, FIELDS, NUMERIC, PROBLEM, TIME, Inputs, time_of
from bike_demand.core.problem import Array, Columns

INPUT_NAME = "features"  # the model input with all numbers: float32 [rows, numbers]; each text has its own
_EPOCH = datetime(1970, 1, 1)
_TEXT_FIELDS = tuple(name for name in FIELDS if name not in NUMERIC)
_numbers_of: Any = attrgetter(*NUMERIC) if NUMERIC else lambda _: ()  # a problem may have no numbers


def to_columns(rows: Sequence[Inputs]) -> Columns:
    """Input fields of rows: local event time as datetime64[s], texts as str, others as float64 with NaN."""
    # One array for all numbers: one array per field would take three times as long for a one-row request.
    numbers = np.array([_numbers_of(row) for row in rows], dtype=np.float64).reshape(len(rows), len(NUMERIC))
    columns: dict[str, Array] = dict(zip(NUMERIC, numbers.T, strict=True))
    for name in _TEXT_FIELDS:
        columns[name] = np.array([getattr(row, name) or "" for row in rows], dtype=object)
    # Converted via seconds, because NumPy takes ten times as long to convert a datetime.
    seconds = [_seconds(EVENT_TIME.to_local(time_of(row))) for row in rows]
    columns[TIME] = np.array(seconds, np.int64).view("datetime64[s]")
    return columns


def _seconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return since.days * 86400 + since.seconds


def _names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the numeric features, and those of the text features."""
    try:
        example = Inputs.model_validate_json(json.dumps(PROBLEM.example))
        features = PROBLEM.features(to_columns([example]))
        found = {name: column.dtype.kind for name, column in features.items()}
    except ValidationError as error:
        raise SystemExit("error: problem: example: {loc}: {msg}".format_map(error.errors()[0])) from None
    except KeyError as error:
        raise SystemExit(f"error: problem: features: {error} is no input, and models see no more") from None
    except Exception as error:  # the problem's own code may raise anything
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SystemExit(f"error: problem: features: {message}") from error
    numbers = tuple(name for name, kind in found.items() if kind in "biuf")
    texts = tuple(name for name, kind in found.items() if kind in "OU")
    if others := [name for name in found if name not in numbers + texts]:
        raise SystemExit(f"error: problem: features: {others[0]} is neither a number nor a text")
    if INPUT_NAME in texts:
        raise SystemExit(f"error: problem: features: the name {INPUT_NAME} is reserved; rename the feature")
    return numbers, texts


_numbers, TEXTS = _names()
COMPUTED = _numbers + TEXTS
FEATURES = tuple(name for name in COMPUTED if name not in PROBLEM.retired)  # the features used in training
NUMBERS = tuple(name for name in FEATURES if name not in TEXTS)


def to_inputs(columns: Columns, names: Sequence[str] = FEATURES) -> dict[str, Array]:
    """Compute features from input columns, shaped as the model's inputs.

    All numbers form one float32 matrix of shape [rows, numbers], because one input per number would cost a
    request 43 microseconds more. Each text has shape [rows, 1].
    """
    features = PROBLEM.features(columns)
    numbers = [name for name in names if name not in TEXTS]
    matrix = np.empty((len(columns[TIME]), len(numbers)), dtype=np.float32)
    for position, name in enumerate(numbers):
        matrix[:, position] = features[name]
    texts = {name: features[name].astype(object).reshape(-1, 1) for name in TEXTS if name in names}
    return {INPUT_NAME: matrix, **texts} if numbers else texts


def describe(names: Sequence[str] = FEATURES) -> list[dict[str, Any]]:
    """Describe features in order, for the model card: name, type, unit, valid range, nullable.

    For a derived feature only the name is known.
    """
    return [
        {
            "name": name,
            "type": "string" if name in TEXTS else "float32",
            "unit": field.unit if field else "",
            "min": field.valid[0] if field and math.isfinite(field.valid[0]) else None,
            "max": field.valid[1] if field and math.isfinite(field.valid[1]) else None,
            "nullable": field.nullable if field else False,
        }
        for name in names
        for field in [FIELDS.get(name)]
    ]
