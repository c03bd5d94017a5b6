"""Target and loss."""

from typing import TypeVar

from bike_demand.core.problem import Floats

Number = TypeVar("Number", float, Floats)


def target(count: Number) -> Number:
    """The target of these counts: the count itself."""
    return count * 1.0  # a float, for one count and for an array


def absolute_error(prediction: Number, target: Number) -> Number:
    """How far each prediction is off, 0 or more."""
    return abs(prediction - target)
