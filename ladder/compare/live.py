"""Shows replays while they run: a live table in a terminal, elsewhere a plain line now and then."""

import time
from collections.abc import Mapping
from datetime import timedelta
from itertools import groupby
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ladder.workers import Progress, Work

PER_SECOND = 4  # as often it is drawn anew: a table that jumps cannot be read
LINE_SECONDS = 60.0  # from one plain line to the next
BAR = 10  # characters wide
NUMBERS = ("error", "releases", "by hand")
# Titles and widths; together with a space after each and at least 17 characters of what happened: 80.
COLUMNS = (("", 9), ("", BAR), ("day", 10), ("error", 5), ("releases", 8), ("by hand", 7), ("last", None))


class Shown(Protocol):
    """Looks on while work is done (`workers.Watch`), and shows it until its `with` ends."""

    def __enter__(self) -> "Shown": ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def told(self, name: str, progress: Progress) -> None: ...
    def ended(self, name: str) -> None: ...


def shown(work: Mapping[str, Work], console: Console) -> Shown:
    """What shows this work, in its order, as the console allows it."""
    return _Table(work, console) if console.is_terminal else _Lines(work, console)


class _Table:
    """A line for each piece of work, drawn in place."""

    def __init__(self, work: Mapping[str, Work], console: Console) -> None:
        self._work = work
        self._told: dict[str, Progress] = {}
        self._ended: set[str] = set()
        self._began = time.monotonic()
        self._live = Live(
            console=console,
            refresh_per_second=PER_SECOND,
            get_renderable=self._render,
            vertical_overflow="crop",
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> "_Table":
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def told(self, name: str, progress: Progress) -> None:
        self._told[name] = progress

    def ended(self, name: str) -> None:
        self._ended.add(name)

    def _render(self) -> RenderableType:
        lines: list[RenderableType] = []
        for heading, names in groupby(self._work, key=lambda name: self._work[name].group):
            if heading:
                lines.append(_small(heading))
            table = Table(
                box=None, padding=(0, 1, 0, 0), expand=True, show_header=not lines, header_style="dim"
            )
            for title, width in COLUMNS:
                justify: JustifyMethod = "right" if title in NUMBERS else "left"
                table.add_column(
                    title, width=width, justify=justify, no_wrap=True, ratio=None if width else 1
                )
            for name in names:
                table.add_row(*self._row(name, self._work[name]))
            lines.append(table)
        passed = timedelta(seconds=int(time.monotonic() - self._began))
        lines.append(
            _small(f"{passed}  error: of the last 7 days, in bikes an hour; by hand: steps of people")
        )
        return Group(*lines)

    def _row(self, name: str, work: Work) -> tuple[RenderableType, ...]:
        told = self._told.get(name)
        bar = ProgressBar(total=work.days, completed=told.done if told else 0, width=BAR)
        if told is None:
            return Text(work.short), bar, "", "", "", "", _small("waits")
        last = "done" if name in self._ended else told.last
        return (
            Text(work.short),
            bar,
            f"{told.day}",
            "" if told.error is None else f"{told.error:.0f}",
            str(told.releases or ""),
            str(told.human_steps or ""),
            _small(last),
        )


def _small(text: str) -> Text:
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


class _Lines:
    """A line now and then, for a log."""

    def __init__(self, work: Mapping[str, Work], console: Console) -> None:
        self._work, self._console = work, console
        self._done: dict[str, int] = {}
        self._began = self._said = time.monotonic()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def told(self, name: str, progress: Progress) -> None:
        self._done[name] = progress.done
        if time.monotonic() - self._said >= LINE_SECONDS:
            days, of = sum(self._done.values()), sum(work.days for work in self._work.values())
            self._say(f"{days} of {of} days of all replays")

    def ended(self, name: str) -> None:
        work = self._work[name]
        self._done[name] = work.days
        self._say(f"{work.title}: done")

    def _say(self, what: str) -> None:
        self._said = time.monotonic()
        passed = timedelta(seconds=int(self._said - self._began))
        self._console.print(f"{passed}  {what}", highlight=False, markup=False, soft_wrap=True)
