"""Shows a person at a terminal that long work goes on."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 2.0


def watched(items: Sequence[T], what: str) -> Iterator[T]:
    """The items, one by one; on a terminal a bar appears once they have taken longer than two seconds."""
    began = time.monotonic()
    rest = iter(items)
    done = 0
    for item in rest:
        yield item
        done += 1
        if time.monotonic() - began > PATIENCE_SECONDS and sys.stderr.isatty():
            break
    if done == len(items):
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=len(items), completed=done)
        for item in rest:
            yield item
            progress.advance(task)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Meanwhile, on a terminal, a turning sign and what is being done."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
