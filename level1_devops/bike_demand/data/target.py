"""What is predicted, what an answer is off by, and how both are told: change it here for another target."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bike_demand.data.schema import Hour

Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", float, Floats)

TITLE = "Bike demand"
DESCRIPTION = "How many bikes will be rented in an hour, from the calendar and the weather forecast."

# Of an answer.
UNIT = "bikes"
MEANING = "bikes rented in the hour"
NOTHING = "not one bike was rented"  # said where the target is 0 in every hour
LOWEST, HIGHEST = 0, 5000.0  # beyond is no answer; no hour had a fifth of that
BUSY = 30.0  # less at 17 h on a warm and clear working day is no answer either
DECIMALS = 2  # finer than any bike

# Of an error.
ERROR_NAME = "mean absolute error"
ERROR_UNIT = "bikes an hour"
ERROR_DECIMALS = 1


def target_of(count: int) -> float:
    """What is to be predicted for an hour in which so many bikes were rented."""
    return float(count)


def targets(rows: Sequence[Hour]) -> Floats:
    """The same for hours of the feed, shape [rows]."""
    return np.array([target_of(row.count) for row in rows], dtype=np.float64)


def error(answer: Number, target: Number) -> Number:
    """What an answer is off by, 0 or more: absolute. By the mean of it models are judged."""
    return abs(answer - target)


def rounded(value: float) -> str:
    """An error, or an answer, as people are told it."""
    return f"{value:.{ERROR_DECIMALS}f}"
