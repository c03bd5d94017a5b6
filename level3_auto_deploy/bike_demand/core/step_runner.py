"""What runs the steps of a deployment, an A/B test or a monitoring cycle, by their names.

Without any other runner a step is just called. `flows` makes a task of each, which people see by its name.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class StepRunner(Protocol):
    """Runs a step, and returns or raises what it does."""

    def __call__(self, name: str, step: Callable[[], T], /) -> T: ...


def call(_name: str, step: Callable[[], T]) -> T:
    """Run it right here."""
    return step()
