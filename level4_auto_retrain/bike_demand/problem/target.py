"""What is learned, and how wrong a prediction is: change it here for another target."""

from typing import TypeVar

from bike_demand.core.problem import Floats

Number = TypeVar("Number", float, Floats)


def target(count: Number) -> Number:
    """The target of these counts: the count itself."""
    return count * 1.0


def absolute_error(prediction: Number, target: Number) -> Number:
    """How far each prediction is off, 0 or more."""
    return abs(prediction - target)
