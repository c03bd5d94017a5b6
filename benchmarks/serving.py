"""How fast a level answers one-row requests, beside a FastAPI application that answers a constant.

Example: python -m benchmarks.serving --level 1 --rounds 7 --seconds 3
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import pandas as pd
import tenacity
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import load
from data.feedfile import INPUTS, read_feed, write_feed
from ladder import runbook, users, workcopy
from ladder.cycle import FEED
from ladder.hands import environment, perform, type_in
from ladder.levels import ROOT, level
from ladder.service import Service, free_port

FLOOR = {1: 0.5, 2: 0.5}  # what each level must reach of the constant's rate


def main(
    number: Annotated[int, typer.Option("--level", help="The level whose application is measured.")] = 1,
    rounds: Annotated[int, typer.Option(min=3, help="Turns; each measures both, one after the other.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.5, max=30, help="Length of one measurement.")] = 3.0,
    out: Annotated[Path | None, typer.Option(help="Where the numbers go as JSON.")] = None,
) -> None:
    """Measure in turns, print the ratios and their spread; status 1 if the level is below its floor."""
    console = Console()
    feed = read_feed(FEED)
    bodies = users.as_bodies(feed[INPUTS].iloc[-100:])
    one, hundred = json.dumps(bodies[84]).encode(), json.dumps(bodies).encode()
    with tempfile.TemporaryDirectory(prefix="ladder-bench-") as name:
        folder = Path(name)
        with _released(number, folder / "level", feed) as url, _constant(folder) as limit:
            for each in (url, limit):
                load.post(f"{each}/predict", one, 1.0)  # warm
            runs = [
                (
                    load.post(f"{url}/predict", one, seconds),
                    load.post(f"{limit}/predict", one, seconds),
                    load.post(f"{url}/predict", hundred, seconds / 3),
                )
                for _ in track(range(rounds), "rounds", console=console)
            ]
    titles = (f"level {number}, one row", "constant, one row", f"level {number}, 100 rows")
    table = Table(title=f"16 connections, {rounds} turns of {seconds:g} s, medians", title_justify="left")
    table.add_column("")
    for column in ("requests/s", "p50, ms", "p99, ms", "failed"):
        table.add_column(column, justify="right")
    for title, turns in zip(titles, zip(*runs, strict=True), strict=True):
        table.add_row(
            title,
            f"{statistics.median(turn.rate for turn in turns):,.0f}",
            f"{statistics.median(1e3 * turn.percentile(0.5) for turn in turns):.2f}",
            f"{statistics.median(1e3 * turn.percentile(0.99) for turn in turns):.2f}",
            str(sum(turn.failed for turn in turns)),
        )
    console.print(table)
    ratios = [mine.rate / theirs.rate for mine, theirs, _ in runs]
    costs = [mine.rate / batch.rate for mine, _, batch in runs]
    for says, values in (
        ("rate of the level / rate of the constant", ratios),
        ("one request of 100 rows / one request of 1 row, in time", costs),
    ):
        console.print(
            f"{says}: median {statistics.median(values):.2f}, from {min(values):.2f} to {max(values):.2f}",
            highlight=False,
        )
    if out is not None:
        out.write_text(json.dumps({"ratios": ratios, "hundred_rows": costs}, indent=1), encoding="utf-8")
    failed = sum(turn.failed for turns in runs for turn in turns)
    if statistics.median(ratios) < FLOOR[number] or failed:
        console.print(f"below the floor of {FLOOR[number]}, or requests failed", style="red")
        raise typer.Exit(1)


@contextmanager
def _released(number: int, folder: Path, feed: pd.DataFrame) -> Iterator[str]:
    """The level's application in a working copy, with a model released the way its runbook says."""
    workcopy.make(level(number), folder)
    write_feed(feed, folder / "feed")
    book = runbook.load(folder)
    with Service(folder, folder / "state" / "service.log", env=environment()) as service:
        for step in (*book.daily, *book.release):
            perform(step, folder, type_in, service)
        if not service.running():
            service.start()
        yield service.url


@contextmanager
def _constant(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.constant", str(port)]
    with (folder / "constant.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True
        ):
            with attempt:
                httpx.get(f"http://127.0.0.1:{port}/live").raise_for_status()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    typer.run(main)
