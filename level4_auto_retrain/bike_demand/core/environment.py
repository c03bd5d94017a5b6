"""Temporary environment variables."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def environment_with(values: dict[str, str]) -> Iterator[None]:
    """Set these variables inside the block, and restore the previous values afterwards."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)
