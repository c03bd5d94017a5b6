"""Progress bars and spinners with rich; silent if standard error is not a terminal."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

T = TypeVar("T")


def progress_bar(items: Sequence[T], description: str) -> Iterable[T]:
    """Iterate over the items with a progress bar on standard error."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description, console=Console(stderr=True), transient=True)


def spinner(description: str) -> AbstractContextManager[object]:
    """Show a spinner on standard error while the block runs."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(description)
