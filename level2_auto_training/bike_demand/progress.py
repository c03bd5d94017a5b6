"""Progress bars and spinners with rich; silent if standard error is not a terminal."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def progress_bar(items: Sequence[T], description: str) -> Iterable[T]:
    """Iterate over the items with a progress bar on standard error."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description, console=Console(stderr=True), transient=True)


@contextmanager
def spinner(description: str) -> Iterator[None]:
    """Show a spinner on standard error while the block runs."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(description):
        yield
