"""The cost of more rows: bikes at 1, 10 and 100 stations over two years, step by step in seconds and memory.

The station is a key field with a row per hour. The feed is drawn from the level's own with a fixed seed.

Example: python -m benchmarks.scale --level 4
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from ladder import workcopy
from ladder.levels import level
from ladder.steps import environment
from ladder.world import COMMITTED_FEED

SECONDS, GIB = 300.0, 4.0  # for all steps together with 100 stations, and for the largest process
LINEAR = 1.3  # largest growth of a step's time relative to that of its rows, for steps long enough to measure
LEAST_SECONDS = 5.0
LOGGED_DAYS = 7  # of predictions that are monitored

Results = dict[
    int, dict[str, tuple[float, float]]
]  # by stations and step: seconds, GiB of the largest process

# Adds a key field to the bike problem: original text and replacement.
CHANGES = {
    "schema.py": [
        ("EventTime, Expected, ", "EventTime, Expected, Key, "),
        (
            "    holiday: Annotated[int,",
            '    station: Annotated[int, Key(), Field(ge=1, le=10_000, description="its number")]\n'
            "    holiday: Annotated[int,",
        ),
    ],
    "features.py": [('PASSTHROUGH = ("workingday"', 'PASSTHROUGH = ("station", "workingday"')],
    "behavior.py": [
        (
            '    "timestamp": "2012-06-13T17:00:00",\n',
            '    "timestamp": "2012-06-13T17:00:00",\n    "station": 1,\n',
        )
    ],
}

# Run in the project: the newest version goes live, and the last days of the feed were predicted by it.
LOG = f"""
from contextlib import closing
from datetime import UTC, datetime, timedelta
from bike_demand.core.current import LABEL, TIME
from bike_demand.core.settings import DATA, load_settings
from bike_demand.data.frames import row_ids, time_range, to_records
from bike_demand.data.ingested import read_labeled_rows
from bike_demand.store.database import open_database
from bike_demand.store.outcomes import store
from bike_demand.store.tables import LoggedPrediction
from bike_demand.store.tracking import Tracking
from sqlalchemy import insert
settings = load_settings()
tracking = Tracking(settings)
version = tracking.versions()[-1].number
tracking.set_alias("champion", version)
rows = read_labeled_rows(DATA)
rows = rows[rows[TIME] > time_range(rows)[1] - timedelta(days={LOGGED_DAYS})]
ids = row_ids(rows)
inputs = [{{name: value for name, value in row.items() if name != TIME}} for row in to_records(rows)]
entries = [
    dict(id=f"{{n:032x}}", made_at=datetime.now(UTC), client="scale", event_time=at, key=key, inputs=record,
         prediction=float(label), variant="champion", version=version, deployment="")
    for n, ((at, key), record, label) in enumerate(zip(ids, inputs, rows[LABEL]))
]
with closing(open_database(settings.environments.production.database)) as database:
    with database.writing() as session:
        session.execute(insert(LoggedPrediction), entries)
    labels = dict(zip(ids, map(float, rows[LABEL])))
    for start in range(0, len(ids), 500):
        store(database, {{each: labels[each] for each in ids[start:start + 500]}})
"""


def main(
    number: Annotated[int, typer.Option("--level", min=2, max=4, help="The level that works.")] = 4,
    stations: Annotated[
        str, typer.Option(help="How many, separated by commas; the first is the unit.")
    ] = "1,10,100",
    out: Annotated[Path | None, typer.Option(help="Where the numbers go as JSON.")] = None,
) -> None:
    """Run each step of a level with each number of stations; status 1 if a step grows faster than its rows,
    or if all together exceed the limits of time or memory with 100 stations.
    """
    console = Console()
    results: Results = {}
    rows: dict[int, int] = {}
    for count in map(int, stations.split(",")):
        with tempfile.TemporaryDirectory(prefix="ladder-scale-") as name:
            folder = workcopy.make(level(number), Path(name) / "level")
            rows[count] = prepare(folder, count)
            console.print(f"{count} stations, {rows[count]:,} rows", highlight=False)
            results[count] = run_steps(folder, number, console)
    _print(results, rows, console)
    failures = list(_failures(results))
    for each in failures:
        console.print(each, style="red")
    if out is not None:
        numbers = {
            count: {step: list(cost) for step, cost in found.items()} for count, found in results.items()
        }
        out.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    raise typer.Exit(int(bool(failures)))


def prepare(folder: Path, stations: int, seed: int = 0) -> int:
    """Give the project a key field, and a feed with `stations` stations. Returns the number of rows."""
    for name, changes in CHANGES.items():
        path = folder / "bike_demand" / "problem" / name
        text = path.read_text(encoding="utf-8")
        for before, after in changes:
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")
    workcopy.commit(folder, "Add the station")
    (folder / "feed").mkdir()
    random, total = np.random.default_rng(seed), 0
    sizes = random.lognormal(0, 0.5, stations)
    for month in sorted(COMMITTED_FEED.glob("*.csv")):
        rows = pd.read_csv(month).assign(casual=None, registered=None)
        every = rows.loc[rows.index.repeat(stations)].reset_index(drop=True)
        every.insert(1, "station", np.tile(np.arange(1, stations + 1), len(rows)))
        every["count"] = random.poisson(every["count"] * np.tile(sizes, len(rows)) / 2)
        every.to_csv(folder / "feed" / month.name, index=False)
        total += len(every)
    pd.concat(map(pd.read_csv, sorted((folder / "feed").glob("*.csv")))).drop(
        columns=["casual", "registered", "count"]
    ).to_csv(folder / "rows.csv", index=False)
    return total


def run_steps(folder: Path, number: int, console: Console) -> dict[str, tuple[float, float]]:
    """Seconds and GiB of the largest process of each step."""
    train = ["train", "--allow-dirty", *(["--no-deploy"] * (number > 2))]
    steps: dict[str, Sequence[str]] = {"ingest": ["ingest"], "validate": ["validate"], "train": train}
    found = {step: _cost(["-m", "bike_demand", *arguments], folder) for step, arguments in steps.items()}
    model = folder / "state" / "run" / "refit"
    found["predict"] = _cost(
        ["-m", "bike_demand", "predict", "rows.csv", "predictions.csv", "--model", str(model)], folder
    )
    if number == 4:
        _cost(["-c", LOG], folder)
        found[f"monitor, {LOGGED_DAYS} days"] = _cost(["-m", "bike_demand", "monitor"], folder)
    for step, (seconds, gib) in found.items():
        console.print(f"  {step}: {seconds:.1f} s, {gib:.2f} GiB", highlight=False)
    return found


def _cost(arguments: Sequence[str], folder: Path) -> tuple[float, float]:
    """Wall seconds, and the largest peak memory of a process and its children. It must succeed."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(arguments[:3])} failed: {output.read().decode()[-2000:]}")
    return seconds, usage.ru_maxrss / 2**20


def _growth(results: Results, step: str) -> float:
    """The ratio of a step's times with the most and the second most stations."""
    few, many = sorted(results)[-2:]
    return results[many][step][0] / results[few][step][0]


def _failures(results: Results) -> list[str]:
    found = []
    most = max(results)
    if len(results) > 1:
        rows = most / sorted(results)[-2]
        for step, (seconds, _) in results[most].items():
            if (growth := _growth(results, step)) > LINEAR * rows and seconds > LEAST_SECONDS:
                found.append(f"{step} takes {growth:.1f} times as long for {rows:g} times the rows")
    if most >= 100:
        if (total := sum(seconds for seconds, _ in results[most].values())) > SECONDS:
            found.append(f"all steps take {total:.0f} s, at most {SECONDS:g}")
        if (peak := max(gib for _, gib in results[most].values())) > GIB:
            found.append(f"the largest process takes {peak:.1f} GiB, at most {GIB:g}")
    return found


def _print(results: Results, rows: Mapping[int, int], console: Console) -> None:
    table = Table(title="seconds and peak memory by stations", title_justify="left")
    table.add_column("rows")
    for count in results:
        table.add_column(f"{rows[count]:,}, s", justify="right")
        table.add_column("GiB", justify="right")
    if len(results) > 1:
        few, many = sorted(results)[-2:]
        table.add_column(f"times as long for {many / few:g} times the rows", justify="right")
    for step in next(iter(results.values())):
        cells = [
            text for found in results.values() for text in (f"{found[step][0]:.1f}", f"{found[step][1]:.2f}")
        ]
        table.add_row(step, *cells, *([f"{_growth(results, step):.1f}"] if len(results) > 1 else []))
    totals = [
        text
        for found in results.values()
        for text in (f"{sum(s for s, _ in found.values()):.1f}", f"{max(g for _, g in found.values()):.2f}")
    ]
    table.add_row("all", *totals)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
