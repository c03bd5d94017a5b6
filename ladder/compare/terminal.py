"""Shows a comparison in a terminal of 80 columns or more: progress, then the table and the verdicts."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column, Table

from ladder.compare.measures import WITHIN
from ladder.compare.results import Comparison, LevelResult
from ladder.levels import level as level_of
from ladder.output import print_line
from ladder.workers import Progress, Task

PER_SECOND = 4  # updates
LINE_SECONDS = 60.0  # from one plain line to the next


def show(comparison: Comparison, console: Console) -> None:
    """Print it, within the console's width."""
    console.print(_table(comparison))
    _notes(comparison, console)
    console.print()
    for verdict in comparison.verdicts:
        console.print(f"- {verdict}")
    console.print()


def _table(comparison: Comparison) -> Table:
    """One line per level, and one for the oracle."""
    incidents = bool(comparison.story.incidents)
    table = Table(
        title="Results by level",
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )
    table.add_column("level", no_wrap=True)
    columns = ["error", "trained/\nreleased", "manual\nsteps", "per\nrelease"]
    columns += ["days to\nrecover", "bad\nhours"] if incidents else []
    for column in [*columns, "repro-\nducible,\ntraceable"]:
        table.add_column(column, justify="right", no_wrap=True, vertical="bottom")
    for number, level in comparison.levels.items():
        by_day = level.manual_steps - level.manual_steps_of_releases
        cells = [
            f"{number} {level_of(int(number)).short}",
            f"{level.mae:.1f}",
            f"{level.trainings} / {level.releases}",
            f"{level.manual_steps_of_releases} + {by_day}",
            f"{level.manual_steps_per_release:.1f}",
        ]
        if incidents:
            cells += [_recovery(level), f"{sum(each.bad_hours for each in level.incidents):,}"]
        table.add_row(*cells, f"{_yes(level.reproducible)}, {_yes(level.traceable)}")
    if comparison.retrained_daily is not None:
        table.add_row("retrained daily", f"{comparison.retrained_daily.mae:.1f}", style="dim")
    return table


def _yes(answered: bool) -> str:
    return "yes" if answered else "no"


def _recovery(level: LevelResult) -> str:
    if level.days_to_recover is None:
        return ""
    return f"{level.days_to_recover:.1f}{'' if level.recovered else '+'}"


def _notes(comparison: Comparison, console: Console) -> None:
    notes = [
        "error: mean absolute error of what users got, in bikes an hour.",
        "manual steps: for releases + for daily work.",
    ]
    if comparison.story.incidents:
        notes += [
            "retrained daily: the same recipe, retrained every morning on clean data, without delay."
            " It does not correct for level shifts, so a level that does may be better.",
            f"days to recover: mean over the incidents, until the 7-day error was within {WITHIN:g} times"
            " the error retrained daily (+: lower bound; the level did not recover from every incident).",
            "bad hours: hours predicted while the 7-day error was above that.",
        ]
    notes += [
        "reproducible: an old model can be trained again; traceable: a prediction to data and person.",
        f"How long people take is an assumption, in {comparison.assumed_in}.",
    ]
    console.print()
    console.print(" ".join(notes), style="dim")


class Live:
    """Watches tasks (`workers.Watcher`) and shows them in order until its `with` block ends.

    Shows progress bars on a terminal, and occasional plain lines elsewhere.
    """

    def __init__(self, tasks: Mapping[str, Task], console: Console) -> None:
        self._tasks, self._console = tasks, console
        self._done = dict.fromkeys(tasks, 0)
        self._began = self._printed = time.monotonic()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(10),
            TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
            console=console,
            refresh_per_second=PER_SECOND,
            expand=True,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._ids = {
            name: self._bars.add_task(task.title, total=task.days, state="waiting")
            for name, task in tasks.items()
        }

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def progressed(self, name: str, progress: Progress) -> None:
        self._done[name] = progress.done
        error = "" if progress.error is None else f"error {progress.error:.0f}"
        released = f"{progress.releases} released" if progress.releases else ""
        state = f"{progress.day}  {error:<9}  {released:<12}  {progress.last}"
        self._bars.update(self._ids[name], completed=progress.done, state=state)
        if time.monotonic() - self._printed >= LINE_SECONDS:
            days, of = sum(self._done.values()), sum(task.days for task in self._tasks.values())
            self._print(f"{days} of {of} days of all replays")

    def finished(self, name: str) -> None:
        self._done[name] = self._tasks[name].days
        self._bars.update(self._ids[name], completed=self._done[name], state="done")
        self._print(f"{self._tasks[name].title}: done")

    def _print(self, text: str) -> None:
        if self._console.is_terminal:
            return
        self._printed = time.monotonic()
        passed = timedelta(seconds=int(self._printed - self._began))
        print_line(self._console, f"{passed}  {text}")
