"""The overhead of automated training: a level's complete run compared with a bare training script.

Example: python -m benchmarks.overhead --level 2 --rounds 5
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ladder import ROOT, workcopy
from ladder.levels import level
from ladder.steps import environment
from ladder.world import COMMITTED_FEED

MORE_SECONDS = 15.0  # wall time at most beyond that of the script
MORE_CPU = 4.0  # CPU at most, in multiples of the script's
IDLE_SECONDS = 5.0  # wall time at most with nothing new
IMPORTS = ["sklearn.ensemble", "dvc.repo", "mlflow", "skl2onnx", "matplotlib.pyplot"]


def main(
    number: Annotated[int, typer.Option("--level", min=2, max=4, help="The level that trains.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Turns; each trains both ways on the same rows.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Where the numbers go as JSON.")] = None,
) -> None:
    """Train in turns on 24 months, print wall and CPU seconds; status 1 if it costs more than it may."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="ladder-bench-") as name:
        folder = workcopy.make(level(number), Path(name) / "level")
        shutil.copytree(COMMITTED_FEED, folder / "feed")
        shutil.copytree(COMMITTED_FEED, Path(name) / "feed")
        train = [sys.executable, "-m", "bike_demand", "train", *(["--no-deploy"] * (number > 2)), "--as-of"]
        _timed([*train, "2012-12-01"], folder)  # the first run also makes the databases
        bare, full, idle = [], [], []
        for turn in track(range(rounds), "rounds", console=console):
            until = f"2012-12-{31 - turn:02}"
            script = [sys.executable, "-m", "benchmarks.bare", str(Path(name) / "feed"), until]
            bare.append(_timed(script, ROOT))
            full.append(_timed([*train, until], folder))
            idle.append(_timed([*train, until], folder))
        imports = {each: _timed([sys.executable, "-c", f"import {each}"], folder) for each in IMPORTS}
    table = Table(title=f"level {number}, 24 months, {rounds} turns, medians", title_justify="left")
    for column in ("", "wall, s", "from", "to", "CPU, s"):
        table.add_column(column, justify="right" if column else "left")
    for title, runs in (("bare script", bare), ("complete run", full), ("run with nothing new", idle)):
        walls = [wall for wall, _ in runs]
        table.add_row(
            title,
            f"{statistics.median(walls):.1f}",
            f"{min(walls):.1f}",
            f"{max(walls):.1f}",
            f"{statistics.median(cpu for _, cpu in runs):.1f}",
        )
    for title, (wall, cpu) in imports.items():
        table.add_row(f"of which import {title}, alone", f"{wall:.1f}", "", "", f"{cpu:.1f}", style="dim")
    console.print(table)
    more = statistics.median(b[0] - a[0] for a, b in zip(bare, full, strict=True))
    times = statistics.median(b[1] / a[1] for a, b in zip(bare, full, strict=True))
    nothing = statistics.median(wall for wall, _ in idle)
    console.print(
        f"a complete run takes {more:.1f} s more than the script (at most {MORE_SECONDS:g}), {times:.1f}"
        f" times its CPU (at most {MORE_CPU:g}); with nothing new {nothing:.1f} s (at most {IDLE_SECONDS:g})",
        highlight=False,
    )
    if out is not None:
        numbers = {"more_seconds": more, "times_cpu": times, "idle_seconds": nothing}
        out.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    if more > MORE_SECONDS or times > MORE_CPU or nothing > IDLE_SECONDS:
        console.print("limit exceeded", style="red")
        raise typer.Exit(1)


def _timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a process and its children. It must succeed."""
    start, before = time.perf_counter(), os.times()
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    after = os.times()
    cpu = (after.children_user + after.children_system) - (before.children_user + before.children_system)
    return time.perf_counter() - start, cpu


if __name__ == "__main__":
    typer.run(main)
