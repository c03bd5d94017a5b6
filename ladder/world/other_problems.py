"""The worlds of other problems: `problems/NAME/feed.py` defines what happens, this module publishes it.

A world is a module with `happened(end, event)`, the rows from START to before a day, and `reported(row)`, the
row as a fault reports it; its sample ends before END, and labels are known DELAY after the event time.
"""

import csv
import io
import runpy
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ladder import ROOT, UserError

PROBLEMS = ROOT / "problems"
Row = dict[str, Any]


def names() -> tuple[str, ...]:
    """The names of the other problems."""
    return tuple(sorted(path.parent.name for path in PROBLEMS.glob("*/feed.py")))


def folder_of(name: str) -> Path:
    """The folder of a problem. Raises UserError if there is none of that name."""
    if name not in names():
        raise UserError(f"unknown problem {name}: choose {' or '.join(names())}")
    return PROBLEMS / name


def world(name: str) -> SimpleNamespace:
    """The world of a problem. Raises UserError if there is none of that name."""
    return SimpleNamespace(**runpy.run_path(str(folder_of(name) / "feed.py")))


def publish(
    world: SimpleNamespace,
    rows: Iterable[Row],
    now: datetime,
    folder: Path,
    fault: tuple[date, date] | None = None,
) -> int:
    """Write what is known at `now` of these rows (ascending), one file per month. Returns their number.

    Labels that are not due are empty. In the days of `fault`, from the first to before the second, rows are
    written as the fault reports them. Unchanged files are not touched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    begun = (row for row in rows if row[world.TIME] < now.isoformat())
    count = 0
    for month, group in groupby(begun, key=lambda row: row[world.TIME][:7]):
        text = io.StringIO()
        writer: csv.DictWriter[str] | None = None
        for row in group:
            shown = as_reported(world, row, fault)
            if writer is None:
                writer = csv.DictWriter(text, list(shown), lineterminator="\n")
                writer.writeheader()
            is_due = datetime.fromisoformat(row[world.TIME][:19]) + world.DELAY <= now
            writer.writerow(
                {name: _cell(value) for name, value in shown.items()} | ({} if is_due else {world.LABEL: ""})
            )
        path = folder / f"{month}.csv"
        content = text.getvalue().encode()
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
        count += 1
    return count


def as_reported(world: SimpleNamespace, row: Row, fault: tuple[date, date] | None) -> Row:
    """The row as reported, with a fault in the days from the first to before the second."""
    day = date.fromisoformat(row[world.TIME][:10])
    found: Row = world.reported(row) if fault is not None and fault[0] <= day < fault[1] else row
    return found


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def write_sample(name: str, folder: Path) -> int:
    """Write the sample feed of a problem. Returns the number of months."""
    module = world(name)
    return publish(module, module.happened(module.END), datetime.combine(module.END, time()), folder)


def write(name: str, folder: Path, end: date, event: date | None, fault: date | None, days: int) -> int:
    """Write a feed of a problem until before a day; from `fault` on, `days` days are reported wrongly.

    Later months of such a feed are removed. Raises UserError if nothing has happened by then, or a file that
    would be overwritten is not part of such a feed.
    """
    module = world(name)
    if end <= module.START:
        raise UserError(f"--until {end}: nothing has happened yet; choose a date after {module.START}")
    fault_period = None if fault is None else (fault, fault + timedelta(days=days))
    header = ",".join(next(iter(module.happened(end, event)))).encode()
    months = {path: path.read_bytes().startswith(header) for path in folder.glob("????-??.csv")}
    last = f"{end - timedelta(days=1):%Y-%m}"
    for path, is_ours in months.items():
        if not is_ours and path.stem <= last:
            raise UserError(f"{path}: is not a month of this feed; choose an empty folder with --out")
    rows = module.happened(end, event)
    count = publish(module, rows, datetime.combine(end, time()), folder, fault_period)
    for path, is_ours in months.items():
        if is_ours and path.stem > last:
            path.unlink()
    return count
