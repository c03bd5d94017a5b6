"""What is learned, and how wrong a prediction is: change it here for another target."""

from typing import TypeVar

from bike_demand.core.problem import Floats

Number = TypeVar("Number", float, Floats)


def target(load: Number) -> Number:
    """The target of these loads: the load itself."""
    return load * 1.0


def absolute_error(prediction: Number, target: Number) -> Number:
    """How far each prediction is off in MW, 0 or more."""
    return abs(prediction - target)
