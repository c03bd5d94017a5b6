"""The snippets of docs/your-own-problem.md: each makes a table that can be drafted from."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ladder import ROOT
from ladder.levels import level

PAGE = ROOT / "docs" / "your-own-problem.md"
SNIPPET = re.compile(r"^### (?P<name>[^\n]+)\n(?P<text>.*?)(?=^##)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2024, 1, 1)
# What a level's own draft makes of each ready.csv, in one process.
DRAFT = """
import json, sys
from pathlib import Path
from bike_demand.draft.cells import read_raw_table
from bike_demand.draft.code import write_code
from bike_demand.draft.guess import ColumnChoices, guess
for folder, label, time in json.load(sys.stdin):
    found = guess(read_raw_table(Path(folder, "ready.csv")), ColumnChoices(label, time))
    write_code(found, "Ready", "ready", Path(folder))
    names = lambda columns: sorted(each.name for each in columns)
    first = {name: str(value) for name, value in found.rows.iloc[0].items()}
    print(json.dumps([found.cadence, names(found.keys), names(found.inputs), len(found.rows), first]))
"""
Table = tuple[str, Iterable[Sequence[Any]]]


def hours(count: int, step: timedelta = HOUR) -> list[datetime]:
    return [START + at * step for at in range(count)]


def out_of_order() -> Table:
    rows = [
        (f"{day:%d.%m.%Y}", f"shop {shop}", 20 + shop, day.day) for day in hours(60, DAY) for shop in (1, 2)
    ]
    return "day,shop,temp_c,items", rows[::-1]


def several_rows() -> Table:
    rows = [
        (at + minute * timedelta(minutes=1), shop, 1 + minute % 3, 20 + at.hour)
        for at in hours(72)
        for shop in ("a", "b")
        for minute in (0, 7, 12)
        if at != START + 5 * HOUR
    ]
    return "at,shop,items,temp_c", rows


def two_dates() -> Table:
    days = hours(80, 26 * HOUR)
    rows = [
        (at, (at + at.day % 5 * DAY).date(), (at + at.day % 7 * DAY).date(), at.day % 7 > 3) for at in days
    ]
    return "ordered,promised,delivered,late", rows


def parts_of_a_date() -> Table:
    return "year,month,day,hour,label", [
        (at.year, at.month, at.day, at.hour, at.hour * 2 + at.day % 2) for at in hours(100)
    ]


def halves() -> Table:
    return "at,label", [(f"{at:%m/%d/%Y %I:%M %p}", at.hour + at.day % 2) for at in hours(24 * 11)]


def wide() -> Table:
    return "at,temp_c,north,south", [(at, 10 + at.day % 9, at.hour + 5, at.hour * 3 + 1) for at in hours(96)]


def sentinels() -> Table:
    rows = [
        (at, -999 if at.hour == 3 else at.hour, (at.day - 1) or 255, at.hour + 9 * (at.day % 3))
        for at in hours(200)
    ]
    return "at,temp_c,humidity,label", rows


def units() -> Table:
    return "at,wind,label", [(at, "30 km/h" if at.hour % 2 else "10 m/s", at.hour) for at in hours(96)]


def clocks() -> Table:
    """Two days around the end of summer time, in local time: 2 h twice."""
    first = datetime(2024, 10, 26)
    local = [first + at * HOUR for at in range(27)]
    local += [first + at * HOUR for at in range(26, 60)]
    return "at,temp_c,label", [(at, 10 + number % 9, at.hour) for number, at in enumerate(local)]


# By snippet and number of its code: table, label, time; cadence, keys, inputs, rows, and its first cells.
Case = tuple[Callable[[], Table], str, str | None, str | None, list[str], list[str], int, dict[str, str]]
CASES: dict[tuple[str, int], Case] = {
    ("Rows out of order", 0): (
        out_of_order, "items", None, "1D", ["shop"], ["temp_c"], 120, {"day": "2024-01-01", "shop": "shop 1"},
    ),
    ("Several rows per period", 0): (
        several_rows, "items", None, "1h", ["shop"], ["temp_c"], 144, {"shop": "a", "items": "4.0"},
    ),
    ("Two date columns", 0): (
        two_dates, "late", "ordered", None, [], ["promised_days"], 80, {"promised_days": "1.0"},
    ),
    ("Date and hour in separate columns", 0): (
        parts_of_a_date, "label", None, "1h", [], [], 100, {"at": "2024-01-01"},
    ),
    ("AM and PM", 0): (halves, "label", None, "1h", [], [], 264, {"at": "2024-01-01"}),
    ("Wide tables", 0): (
        wide, "load_mw", None, "1h", ["region"], ["temp_c"], 192, {"region": "north", "load_mw": "5.0"},
    ),
    ("Sentinels", 0): (
        sentinels, "label", None, "1h", [], ["humidity", "temp_c"], 200, {"humidity": "nan"},
    ),
    ("Units", 0): (units, "label", None, "1h", [], ["wind_kmh"], 96, {"wind_kmh": "36.0"}),
    ("Clock changes", 0): (clocks, "label", None, "1h", [], ["temp_c"], 60, {"at": "2024-10-26"}),
    ("Clock changes", 1): (clocks, "label", None, "1h", [], ["temp_c"], 61, {"at": "2024-10-25 22:00:00"}),
}  # fmt: skip


def codes() -> dict[tuple[str, int], str]:
    """The code of the page, by snippet and number."""
    page = PAGE.read_text(encoding="utf-8")
    section = page.partition("## Preparing raw data")[2].partition("\n## ")[0] + "\n##"
    return {
        (snippet["name"], number): code
        for snippet in SNIPPET.finditer(section)
        for number, code in enumerate(CODE.findall(snippet["text"]))
    }


def test_each_snippet_of_the_page_is_run() -> None:
    assert codes().keys() == CASES.keys()


def test_what_each_snippet_makes_can_be_drafted_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    given = []
    for number, (name, code) in enumerate(codes().items()):
        make, label, time, *_ = CASES[name]
        header, rows = make()
        folder = tmp_path / str(number)
        folder.mkdir()
        with (folder / "table.csv").open("w", encoding="utf-8", newline="") as opened:
            csv.writer(opened).writerows([header.split(","), *rows])
        monkeypatch.chdir(folder)
        exec(code, {})
        given.append([str(folder), label, time])
    done = subprocess.run(
        [sys.executable, "-c", DRAFT],
        cwd=level(1).folder,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name, line in zip(codes(), done.stdout.splitlines(), strict=True):
        with subtests.test(" ".join(map(str, name))):
            *facts, first = json.loads(line)
            *expected, some = CASES[name][3:]
            assert facts == expected
            assert {key: first[key][: len(text)] for key, text in some.items()} == some
