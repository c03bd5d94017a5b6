"""Holds scikit-learn to one thread.

At this size more threads save nothing, and on a busy machine their waiting for each other makes a training
a hundred times slower.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, compiled code that shares work by OpenMP uses one thread."""
    with threadpool_limits(1, user_api="openmp"):
        yield
