"""Shows replays while they run: progress bars in a terminal, elsewhere a plain line now and then."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

from ladder.output import print_line
from ladder.workers import Progress, Task

PER_SECOND = 4  # updates
LINE_SECONDS = 60.0  # from one plain line to the next


class Live:
    """Watches tasks (`workers.Watcher`) and shows them in their order until its `with` ends."""

    def __init__(self, tasks: Mapping[str, Task], console: Console) -> None:
        self._tasks, self._console = tasks, console
        self._done = dict.fromkeys(tasks, 0)
        self._began = self._printed = time.monotonic()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(10),
            TextColumn("{task.fields[day]}"),
            TextColumn("{task.fields[error]}", justify="right"),
            TextColumn("{task.fields[releases]}", justify="right"),
            TextColumn(
                "{task.fields[last]}", "dim", markup=False, table_column=Column(no_wrap=True, ratio=1)
            ),
            console=console,
            refresh_per_second=PER_SECOND,
            expand=True,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._ids = {
            name: self._bars.add_task(
                task.short, total=task.days, day="", error="", releases="", last="waiting"
            )
            for name, task in tasks.items()
        }

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def progressed(self, name: str, progress: Progress) -> None:
        self._done[name] = progress.done
        self._bars.update(
            self._ids[name],
            completed=progress.done,
            day=f"{progress.day}",
            error="" if progress.error is None else f"error {progress.error:.0f}",
            releases=f"{progress.releases} released" if progress.releases else "",
            last=progress.last,
        )
        if time.monotonic() - self._printed >= LINE_SECONDS:
            days, of = sum(self._done.values()), sum(task.days for task in self._tasks.values())
            self._print(f"{days} of {of} days of all replays")

    def finished(self, name: str) -> None:
        self._done[name] = self._tasks[name].days
        self._bars.update(self._ids[name], completed=self._done[name], last="done")
        self._print(f"{self._tasks[name].title}: done")

    def _print(self, text: str) -> None:
        if self._console.is_terminal:
            return
        self._printed = time.monotonic()
        passed = timedelta(seconds=int(self._printed - self._began))
        print_line(self._console, f"{passed}  {text}")
