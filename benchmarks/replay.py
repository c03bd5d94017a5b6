"""The cost of a comparison on this machine: wall time, CPU by level and by month of the story, memory.

On a machine with more than two cores, restrict it to two: taskset -c 0,1 python -m benchmarks.replay. Replays
with the same release dates are named like `4*`.

Example: python -m benchmarks.replay --scenario default --same-dates
"""

import statistics
import threading
import time
from collections import defaultdict
from datetime import date, datetime
from itertools import pairwise
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from ladder.compare.command import ORACLE, Options, compare
from ladder.workcopy import home
from ladder.workers import Progress, cores

SECONDS = {"short": 4 * 60, "default": 20 * 60}  # of wall time, on two cores
MEMORY = 4 * 2**30  # bytes, of all processes together
LINEAR = 1.25  # largest CPU of a day in the story's second half, relative to one in the first
SAMPLE_SECONDS = 10.0  # a sample walks all pages of all processes: frequent ones would be load themselves


class CostObserver:
    """Observes the CPU of each replay after each day of the story."""

    def __init__(self) -> None:
        self.spent: dict[str, list[tuple[date, float]]] = defaultdict(list)

    def progressed(self, name: str, progress: Progress) -> None:
        self.spent[name].append((progress.day, progress.seconds))

    def finished(self, name: str) -> None:
        """Required by Watcher."""

    def by_month(self, name: str) -> dict[str, float]:
        """CPU seconds of a replay in each month of the story."""
        found: dict[str, float] = defaultdict(float)
        before = 0.0
        for day, seconds in self.spent[name]:
            found[f"{day:%Y-%m}"] += seconds - before
            before = seconds
        return found

    def growth(self) -> tuple[float, float]:
        """CPU of a quiet day and of a training in a story's second half, in multiples of those in its first.

        Medians over all days, and over those that cost ten times as much; then means over the levels. Sums
        would depend on how many trainings the incidents caused, which are spread unevenly. Left out are the
        first week, with its one-time startup work, and the reference, which retrains daily.
        """
        quiet, trained = list[float](), list[float]()
        for name, days in self.spent.items():
            if name == ORACLE:
                continue
            used = [after - before for (_, before), (_, after) in pairwise(days)][7:]
            half, median = len(used) // 2, statistics.median(used or [0.0])
            for found, least in ((quiet, 0.0), (trained, 10 * median)):
                early, late = ([each for each in part if each > least] for part in (used[:half], used[half:]))
                if early and late:
                    found.append(statistics.median(late) / statistics.median(early))
        return _mean(quiet), _mean(trained)


class Memory(threading.Thread):
    """Samples the memory that this process and all below it use together; `peak` in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, self._now())

    def stop(self) -> None:
        self._ending.set()
        self.join()

    @staticmethod
    def _now() -> int:
        """The memory unique to each process (USS): shared libraries would count many times."""
        used = 0
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            try:
                used += process.memory_full_info().uss
            except psutil.Error:
                continue
        return used


def main(
    scenario: Annotated[str, typer.Option(help="By name or path.")] = "short",
    levels: Annotated[str, typer.Option(help="Like 0,3,4.")] = "",
    begin: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"])] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"])] = None,
    same_dates: Annotated[bool, typer.Option(help="Also all levels on the same release dates.")] = False,
) -> None:
    """Replay a story and print its cost; status 1 if a limit is exceeded."""
    console = Console()
    options = Options(
        scenario,
        "benchmark",
        home() / "benchmark-reports",
        start=begin.date() if begin else None,
        end=end.date() if end else None,
        levels=tuple(map(int, filter(None, levels.split(",")))),
        same_dates=same_dates,
    )
    costs, memory = CostObserver(), Memory()
    memory.start()
    began = time.monotonic()
    compare(options, console, costs)
    wall = time.monotonic() - began
    memory.stop()
    _print(costs, console)
    whole = not (levels or begin or end)
    kept = (
        {
            f"{wall / 60:.1f} minutes on {cores()} cores (at most {SECONDS[scenario] / 60:.0f})": (
                wall <= SECONDS[scenario]
            )
        }
        if whole and scenario in SECONDS
        else {}
    )
    kept[f"{memory.peak / 2**30:.2f} GiB of memory (at most {MEMORY / 2**30:.0f})"] = memory.peak <= MEMORY
    for what, growth in zip(("a quiet day", "a training"), costs.growth(), strict=True):
        reported = f"{what} takes {growth:.2f} times the CPU in the second half (at most {LINEAR})"
        kept[reported] = growth <= LINEAR
    console.print(f"wall time {wall:.0f} s", highlight=False)
    for what, is_so in kept.items():
        console.print(f"  {'ok' if is_so else '[red]FAILED[/red]'}  {what}", highlight=False)
    raise typer.Exit(int(not all(kept.values())))


def _mean(found: list[float]) -> float:
    return statistics.fmean(found) if found else 1.0


def _print(costs: CostObserver, console: Console) -> None:
    names = sorted(costs.spent)
    table = Table(title="CPU seconds", title_justify="left")
    table.add_column("month of the story")
    for name in names:
        number = name.rpartition("level")[2]
        table.add_column(f"{number}*" if number != name else name, justify="right")
    found = {name: costs.by_month(name) for name in names}
    for month in sorted({month for each in found.values() for month in each}):
        table.add_row(month, *(f"{found[name].get(month, 0):.1f}" for name in names))
    table.add_row("together", *(f"{sum(found[name].values()):.1f}" for name in names))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
