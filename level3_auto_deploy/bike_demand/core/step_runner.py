"""The step runner: how named steps, say of a deployment, are executed.

By default a step is simply called. `flows` makes each one a Prefect task with that name.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class StepRunner(Protocol):
    """Runs a step, and returns its result or raises its exception."""

    def __call__(self, name: str, step: Callable[[], T], /) -> T: ...


def call(_name: str, step: Callable[[], T]) -> T:
    """Call the step in this process."""
    return step()
