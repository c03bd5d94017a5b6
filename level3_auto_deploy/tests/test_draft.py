"""`problem draft`: a first problem from a person's own table."""

import csv
import errno
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bike_demand.core.errors import UserError
from bike_demand.draft import cells, command
from bike_demand.draft.cells import read_raw_table
from bike_demand.draft.code import write_code
from bike_demand.draft.command import _write_feed, draft, settings_of
from bike_demand.draft.guess import ColumnChoices, Draft, guess, to_identifiers
from tests.conftest import ROOT
from tests.tree import contents

HEADER = (
    "Customer ID",
    "Month",
    "Plan",
    "Calls",
    "Charges €",
    "Net",
    "Paperless",
    "Country",
    "Exit fee",
    "Churn",
)


def churn(customers: int = 60, months: int = 12) -> list[tuple[str, ...]]:
    """Customers month by month, as somebody exports them; who calls often leaves."""
    rng = random.Random(0)
    rows: list[tuple[str, ...]] = []
    for month in range(months):
        for number in range(customers):
            calls = rng.choice([0, 1, 2, 8])
            leaves = rng.random() < 0.1 + 0.1 * calls
            rows.append(
                (
                    f"C-{number:03}",
                    f"01.{month % 12 + 1:02}.{2023 + month // 12}",
                    ["Basic", "Plus; family", "Pro"][number % 3],
                    str(calls),
                    f"{rng.uniform(10, 80):.2f}".replace(".", ","),
                    rng.choice(["fiber", "DSL", ""]),
                    rng.choice(["Yes", "No"]),
                    "DE",
                    str(11 * leaves),
                    "left" if leaves else "stayed",
                )
            )
    return rows


def write(file: Path, rows: Sequence[Sequence[str]], separator: str = ";", encoding: str = "cp1252") -> Path:
    with file.open("w", newline="", encoding=encoding) as opened:
        csv.writer(opened, delimiter=separator).writerows(rows)
    return file


@pytest.fixture
def churn_file(tmp_path: Path) -> Path:
    return write(tmp_path / "churn.csv", [HEADER, *churn()])


def drafted(file: Path, label: str = "label", **options: str | None) -> Draft:
    return guess(read_raw_table(file), ColumnChoices(label, **options))


def series(tmp_path: Path, step: timedelta, columns: str = "at,x,label", rows: int = 100) -> Path:
    lines = [columns.split(",")]
    for at in range(rows):
        moment = (datetime(2023, 1, 1) + at * step).isoformat(sep=" ")
        lines.append(
            [moment, str(at % 7), str(at % 24 + at % 5), *map(str, [at * 3 % 11] * (len(lines[0]) - 3))]
        )
    return write(tmp_path / "series.csv", lines, ",")


def test_a_table_as_people_export_it_is_understood(churn_file: Path) -> None:
    found = drafted(churn_file, "Churn")
    assert (found.time.name, [each.name for each in found.keys], found.cadence) == (
        "month",
        ["customer_id"],
        None,
    )
    assert {each.name: each.kind for each in found.inputs} == {
        "plan": "category",
        "calls": "integer",
        "charges": "number",
        "net": "category",
        "paperless": "boolean",
    }
    assert {each.name for each in found.inputs if each.nullable} == {"net"}
    assert (found.label.kind, found.positive) == ("boolean", "left")
    assert len(found.rows) == 720


def test_event_time_is_the_date_that_identifies_rows(tmp_path: Path) -> None:
    joined = [f"2015-{1 + number % 12:02}-{1 + number % 28:02}" for number in range(60)]
    rows = [(*row, joined[int(row[0][2:])], row[1] * (row[-1] == "left")) for row in churn()]
    file = write(tmp_path / "churn.csv", [(*HEADER, "Customer since", "Left on"), *rows])
    found = drafted(file, "Churn")
    assert (found.time.name, [each.name for each in found.keys]) == ("month", ["customer_id"])


@pytest.mark.parametrize(
    ("sentinel", "is_named"), [("-999", True), ("9999", True), ("99", False), ("7", False)]
)
def test_a_number_that_may_mean_missing_is_named(tmp_path: Path, sentinel: str, is_named: bool) -> None:
    rows = [(f"2023-01-{day:02}", str(day * 3), str(day % 7)) for day in range(1, 29)]
    file = write(tmp_path / "t.csv", [("at", "x", "label"), *rows, ("2023-01-29", sentinel, "3")], ",")
    assert any(f"{sentinel} looks like a code" in note for note in drafted(file).notes) == is_named


def test_columns_that_are_known_only_with_the_label_are_named_and_left_out(tmp_path: Path) -> None:
    file = series(tmp_path, timedelta(hours=1))
    rows = list(csv.reader(file.open(encoding="utf-8")))
    parts = [
        ["a", "b", "again"],
        *([str(int(row[2]) // 3), str(int(row[2]) - int(row[2]) // 3), row[2]] for row in rows[1:]),
    ]
    write(file, [[*row, *more] for row, more in zip(rows, parts, strict=True)], ",")
    found = drafted(file)
    assert [each.name for each in found.inputs] == ["x"]
    assert sum("a suspected leak" in note for note in found.notes) == 3


@pytest.mark.parametrize(
    ("name", "values", "is_input"),
    [
        ("id", [9000 - row for row in range(60)], False),
        ("", [row % 30 for row in range(60)], False),
        (f"__index_level_{0}__", [row % 30 for row in range(60)], False),
        ("id", [9000 + row + row // 2 for row in range(60)], False),
        ("meter", [9000 + 7 * row for row in range(60)], True),
        ("x", [row * 7 % 60 for row in range(60)], True),
        ("x", [row // 2 for row in range(60)], True),
    ],
)
def test_numbers_of_rows_are_no_inputs(tmp_path: Path, name: str, values: list[int], is_input: bool) -> None:
    days = [f"{datetime(2023, 1, 1) + timedelta(days=row):%Y-%m-%d}" for row in range(60)]
    rows = [(str(value), day, str(int(day[-1]) + 3)) for value, day in zip(values, days, strict=True)]
    assert bool(drafted(write(tmp_path / "t.csv", [(name, "at", "label"), *rows])).inputs) == is_input


def test_one_number_written_in_two_ways_is_constant(tmp_path: Path) -> None:
    rows = [
        (f"2023-01-{day:02}", str(day % 9), ("0", "0.00", "-0")[day % 3], str(day % 5))
        for day in range(1, 29)
    ]
    found = drafted(write(tmp_path / "t.csv", [("at", "x", "refund", "label"), *rows]))
    assert [each.name for each in found.inputs] == ["x"]
    assert "left out: 'refund', it is the same in all rows" in found.notes


@pytest.mark.parametrize(
    ("form", "first"),
    [
        ("{0:%Y}-{0.month}-{0.day}", "2023-01-05"),
        ("{0:%Y-%m-%d} {0.hour}:{0:%M}", "2023-01-05 07:00:00"),
        ("{0.month}/{0.day}/{0:%y}", "2023-01-05"),
        ("{0:%d.%m.%y}", "2023-01-05"),
    ],
)
def test_short_dates_are_dates(tmp_path: Path, form: str, first: str) -> None:
    moments = [datetime(2023, 1, 5, 7) + timedelta(days=day) for day in range(60)]
    rows = [(form.format(at), str(at.day % 7), str(at.day % 5)) for at in moments]
    found = drafted(write(tmp_path / "t.csv", [("at", "x", "label"), *rows]))
    assert found.rows["at"].iloc[0] == pd.Timestamp(first)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("€ 1{0}.50", "a number with a unit"),
        ("{0}%", "a number with a unit"),
        ("1{0}.5 km/h", "a number with a unit"),
        ("Thu {0} Jan 2023", "a date"),
        ("shop {0}", None),
        ("0{0} 123 456", None),
        ("C-{0}", None),
    ],
)
def test_texts_that_hold_numbers_or_dates_are_named(tmp_path: Path, text: str, named: str | None) -> None:
    rows = [(f"2023-01-{day:02}", text.format(day), str(day % 5)) for day in range(1, 29)]
    notes = drafted(write(tmp_path / "t.csv", [("at", "x", "label"), *rows])).notes
    assert [each for each in notes if "looks like" in each and f"like {named};" not in each] == []
    assert any("looks like" in each for each in notes) == (named is not None)


@pytest.mark.parametrize("word", ["None", "NA", "-"])
def test_words_for_missing_values_are_values_of_texts_only(tmp_path: Path, word: str) -> None:
    """They would be texts in the next files, and another value than in training."""
    rows = [
        (
            f"2023-01-{day:02}",
            [word, "one", ""][day % 3],
            [word, "yes"][day % 2],
            [word, str(day % 7)][day % 2],
        )
        for day in range(1, 29)
    ]
    labels = ["left", "stayed", word, "left"] * 7
    table = [(*row, label) for row, label in zip(rows, labels, strict=True)]
    found = drafted(write(tmp_path / "t.csv", [("at", "garage", "pool", "x", "label"), *table]))
    assert {each.name: (each.kind, each.nullable, each.categories) for each in found.inputs} == {
        "garage": ("category", True, tuple(sorted([word, "one"]))),
        "pool": ("category", False, tuple(sorted([word, "yes"]))),
        "x": ("integer", True, ()),
    }
    assert (found.label.kind, len(found.rows)) == ("boolean", 21)


def test_rows_of_the_future_are_left_out(tmp_path: Path) -> None:
    start = datetime.now() - timedelta(days=50)
    rows = [(f"{start + timedelta(days=day):%Y-%m-%d}", str(day % 7), str(day % 5)) for day in range(60)]
    found = drafted(write(tmp_path / "t.csv", [("at", "x", "label"), *rows]))
    assert 51 <= len(found.rows) <= 52
    assert any("in the future" in note for note in found.notes)


@pytest.mark.parametrize(
    ("scale", "decimals", "most"), [(0.0004, 7, 0.1), (4.0, 3, 1000.0), (40_000.0, 0, 10_000_000.0)]
)
def test_precision_and_range_fit_the_scale_of_the_label(
    tmp_path: Path, scale: float, decimals: int, most: float
) -> None:
    rows = [
        (f"2023-01-{day:02}", str(day % 7), f"{scale * (1 + day % 5) + scale / 9:.8f}")
        for day in range(1, 29)
    ]
    found = drafted(write(tmp_path / "t.csv", [("at", "x", "label"), *rows]))
    code = code_of(found, tmp_path)["__init__.py"]
    assert f"prediction_range=(0.0, {most})" in code
    assert code.count(f"decimals={decimals}") == 2


@pytest.mark.parametrize(("hours", "holdout_days"), [(4 * 24, 1), (8 * 24, 2), (400 * 24, 41)])
def test_short_tables_leave_rows_before_the_holdout(tmp_path: Path, hours: int, holdout_days: int) -> None:
    found = drafted(series(tmp_path, timedelta(hours=1), rows=hours))
    settings = yaml.safe_load(settings_of(found, "training:\n  params: {}\n"))["training"]
    assert settings["holdout_days"] == holdout_days
    assert settings["min_rows"] == min(500, hours // 2)
    with pytest.raises(UserError, match="only 0 rows are left"):
        settings_of(drafted(series(tmp_path, timedelta(minutes=15), rows=90)), "")


@pytest.mark.parametrize(
    ("separator", "texts", "smallest", "largest"),
    [
        (";", ["7.360", "642", "1.045"], 642, 7360),
        (";", ["-1.234.567", "12"], -1_234_567, 12),
        (";", ["1.234,56", "0,5"], 0.5, 1234.56),
        (",", ["1,234", "5,678"], 1234, 5678),
        (",", ["1,234", "567.5"], 567.5, 1234),
        (",", ["1'234.50", "12 345"], 1234.5, 12345),
        (";", ["1\u202f234,5", "-2\xa0345 678", "12"], -2_345_678, 1234.5),
        ("", ["5,014", "642"], 642, 5014),
        ("", ["1.5", "5.014"], 1.5, 5.014),
        (",", ["0.125", "1.125"], 0.125, 1.125),
        (";", ["1.125", "12"], 1.125, 12),
        (";", ["1,125", "3,5", "642"], 1.125, 642),
    ],
)
def test_thousands_are_told_from_decimals(
    tmp_path: Path, separator: str, texts: list[str], smallest: float, largest: float
) -> None:
    rows = [(f"2023-01-{day:02}", texts[day % len(texts)], str(day % 5)) for day in range(1, 29)]
    file = write(tmp_path / "t.csv", [("at", "x", "label"), *rows], separator or ",", "utf-8")
    if not separator:
        pd.read_csv(file).to_parquet(file)
    found = drafted(file)
    assert (found.rows["x"].min(), found.rows["x"].max()) == (smallest, largest)
    is_named = any("'x': " in note and " is read as " in note for note in found.notes)
    assert is_named == (abs(found.rows["x"]).max() > 1000 or texts == ["1.125", "12"])


def test_numbers_with_a_leading_0_are_texts(tmp_path: Path) -> None:
    """Like those of telephones."""
    rows = [(f"2023-01-{day:02}", f"0{day} 123 456", str(day % 5)) for day in range(10, 29)]
    found = drafted(write(tmp_path / "t.csv", [("at", "phone", "label"), *rows]))
    assert found.column("phone").kind == "category"


def test_undecided_thousands_follow_the_marks_of_the_other_columns(tmp_path: Path) -> None:
    def largest(other: str) -> float:
        rows = [(f"2023-01-{day:02}", f"{day}.{day}0", other, str(day % 5)) for day in range(10, 29)]
        rows.append(("2023-01-29", "1.234", "7", "3"))
        found = drafted(write(tmp_path / "t.csv", [("at", "x", "other", "label"), *rows]))
        assert any("'x': 10.100 is read as" in note for note in found.notes) == (other != "0.5")
        return float(found.rows["x"].max())

    assert [largest(other) for other in ("642", "0,5", "0.5")] == [28.28, 28280, 28.28]


@pytest.mark.parametrize(
    ("step", "cadence"),
    [
        (timedelta(minutes=30), "30min"),
        (timedelta(hours=1), "1h"),
        (timedelta(days=1), "1D"),
        (timedelta(minutes=17, seconds=3), None),
    ],
    ids=str,
)
def test_the_cadence_is_found_in_the_data(tmp_path: Path, step: timedelta, cadence: str | None) -> None:
    assert drafted(series(tmp_path, step)).cadence == cadence


def test_hours_without_rows_are_no_cadence_but_their_hours_are_features(tmp_path: Path) -> None:
    """Opening hours: most rows are an hour apart, but rows of the night would be missed as gaps."""
    lines = series(tmp_path, timedelta(hours=1), rows=400).read_text(encoding="utf-8").splitlines()
    opened = [line.split(",") for line in lines if line.startswith("at") or 8 <= int(line[11:13]) < 20]
    found = drafted(write(tmp_path / "open.csv", opened, ","))
    assert found.cadence is None
    assert "hours % 24" in code_of(found, tmp_path)["features.py"]


@pytest.mark.parametrize(
    ("clock", "cadence", "zone", "first"),
    [
        ("T%H:%M:%S+01:00", "1h", 'datetime, EventTime(cadence="1h", timezone="UTC")', "2022-12-31 23:00:00"),
        ("T00:00:00+01:00", "1D", 'NaiveDatetime, EventTime(cadence="1D")', "2023-01-01 00:00:00"),
        (" 01:00+01:00", None, 'datetime, EventTime(cadence=None, timezone="UTC")', "2023-01-01 00:00:00"),
    ],
)
def test_times_with_offsets_stay_valid_for_files_and_requests(
    tmp_path: Path, clock: str, cadence: str | None, zone: str, first: str
) -> None:
    step = timedelta(hours=1) if "%" in clock else timedelta(days=1)
    moments = [datetime(2023, 1, 1) + at * step for at in range(60)]
    rows = [(f"{at:%Y-%m-%d}{at:{clock}}", str(at.day % 7), str(at.hour + at.day)) for at in moments]
    found = drafted(write(tmp_path / "t.csv", [("at", "x", "label"), *rows], ","))
    assert (found.cadence, str(found.rows["at"].iloc[0])) == (cadence, first)
    code = " ".join(code_of(found, tmp_path)["schema.py"].split()).replace("'", '"')
    assert f"at: Annotated[ {zone}" in code


def test_months_and_hours_are_those_of_the_time_zone(tmp_path: Path) -> None:
    moments = pd.date_range("2023-03-20", periods=24 * 20, freq="h", tz="Europe/Berlin")
    rows = [(each.isoformat(), str(at % 7), str(at % 24)) for at, each in enumerate(moments)]
    file = write(tmp_path / "t.csv", [("at", "x", "label"), *rows], ",")
    for zone, first in (("Europe/Berlin", "2023-03-20T00:00:00+01:00"), (None, "2023-03-19T23:00:00+00:00")):
        found = drafted(file, timezone=zone)
        (feed := tmp_path / first[:10]).mkdir()
        _write_feed(found, feed)
        assert (feed / "2023-03.csv").read_text().splitlines()[1].startswith(first)
        april = (feed / "2023-04.csv").read_text().splitlines()[1]
        assert april.startswith("2023-04-01T00:00:00")
        assert (found.cadence, f"timezone='{zone or 'UTC'}'" in code_of(found, tmp_path)["schema.py"]) == (
            "1h",
            True,
        )
        assert any("--timezone" in note for note in found.notes) == (zone is None)
    hours = [(each.isoformat(), "1") for each in moments.tz_convert("Asia/Kolkata").floor("h")]
    india = write(
        tmp_path / "india.csv", [("at", "x", "label"), *((*row, str(at % 5)) for at, row in enumerate(hours))]
    )
    assert [drafted(india, timezone=zone).cadence for zone in ("Asia/Kolkata", None)] == ["1h", None]
    for zone, named in (("Berlin", "unknown"), ("UTC", "no times with UTC offsets")):
        with pytest.raises(UserError, match=f"--timezone.*{named}"):
            drafted(series(tmp_path, timedelta(hours=1)), timezone=zone)


def test_a_few_rows_of_equal_time_make_no_input_the_key(tmp_path: Path) -> None:
    """The hour that occurs twice when clocks are set back."""
    lines = series(tmp_path, timedelta(hours=1)).read_text(encoding="utf-8").splitlines()
    file = write(tmp_path / "t.csv", [each.split(",") for each in [*lines, "2023-01-01 02:00:00,9,4"]], ",")
    with pytest.raises(UserError, match="2 of 101 rows share their at, first 2023-01-01 02:00:00"):
        drafted(file)
    assert [each.name for each in drafted(file, key="x").keys] == ["x"]


def test_a_row_number_is_no_key(tmp_path: Path) -> None:
    rows = [(str(row), f"2023-01-{row // 2 + 1:02}", str(row // 2 % 3), str(row % 5)) for row in range(56)]
    with pytest.raises(UserError, match="give --key"):
        drafted(write(tmp_path / "t.csv", [("Unnamed: 0", "at", "x", "label"), *rows]))


@pytest.mark.slow
def test_no_prediction_of_an_amount_is_below_zero(tmp_path: Path) -> None:
    """Like the output of solar panels, which is 0 at night."""
    hours = [(datetime(2023, 1, 1) + timedelta(hours=at), at % 24) for at in range(400)]
    rows = [(f"{at}", f"{hour % 7}", f"{max(0, 6 - abs(hour - 12)) * 1.7:.2f}") for at, hour in hours]
    found = drafted(write(tmp_path / "t.csv", [("at", "x", "label"), *rows], ","))
    code: dict[str, Any] = {}
    exec(code_of(found, tmp_path)["model.py"], code)
    hour = found.rows["at"].dt.hour + np.random.default_rng(0).normal(0, 2, len(found.rows))
    X = pd.DataFrame({"x": found.rows["x"], "hour": hour})
    assert code["build_model"](code["Params"]()).fit(X, found.rows["label"]).predict(X).min() >= 0


def test_holdout_without_times_is_random_and_reproducible(tmp_path: Path) -> None:
    rows = [(str(number * 7919 % 2400), str(number % 3), str(number // 24)) for number in range(2400)]
    found = drafted(write(tmp_path / "table.csv", [("x", "z", "label"), *rows]))
    assert (found.time.name, found.cadence, found.keys) == ("synthetic_time", None, ())
    assert found.rows["synthetic_time"].is_unique
    newest = found.rows["label"].iloc[-240:]
    assert 40 < newest.mean() < 60  # of labels that ascend from 0 to 99 in the table
    again = drafted(write(tmp_path / "table.csv", [("x", "z", "label"), *rows[::-1]]))
    assert again.rows["x"].tolist() == found.rows["x"].tolist()


def hourly(tmp_path: Path, clock: str, name: str = "Hour", shops: int = 1, days: int = 30) -> Path:
    """Dates, with the hour of the day in a column of its own, written as `clock` says."""
    rows = [["Date", name, "Shop", "label"]]
    for hour in range(24 * days):
        moment = datetime(2017, 12, 1) + hour * timedelta(hours=1)
        at = str(moment.hour) if clock == "number" else moment.strftime(clock)
        rows += [
            [f"{moment:%d/%m/%Y}", at, f"shop {shop}", str(hour % 24 + shop + hour % 5)]
            for shop in range(shops)
        ]
    return write(tmp_path / "hourly.csv", rows, ",")


@pytest.mark.parametrize("shops", [1, 3])
@pytest.mark.parametrize(
    ("clock", "name", "option"),
    [
        ("number", "Hour", None),
        ("number", "hr", None),
        ("number", "period", "period"),
        ("%H:%M", "Time", None),
        ("%H.%M.%S", "at", None),
        ("%I:%M %p", "Clock", None),
    ],
)
def test_dates_and_a_time_of_day_become_one_event_time(
    tmp_path: Path, clock: str, name: str, option: str | None, shops: int
) -> None:
    found = drafted(hourly(tmp_path, clock, name, shops), time_of_day=option)
    assert (found.time.name, found.cadence) == ("date", "1h")
    assert [each.name for each in found.keys] == (["shop"] if shops > 1 else [])
    assert found.rows["date"].iloc[[0, -1]].tolist() == [datetime(2017, 12, 1), datetime(2017, 12, 30, 23)]
    assert "Hour" not in [each.original for each in found.inputs]


def test_possible_hour_column_is_reported_with_its_option(tmp_path: Path) -> None:
    found = drafted(hourly(tmp_path, "number", "period"))
    assert [each.name for each in found.keys] == ["period"]
    assert any("--time-of-day period" in note for note in found.notes)
    with pytest.raises(UserError, match="--time-of-day Shop"):
        drafted(hourly(tmp_path, "number"), time_of_day="Shop")


NAMES = """hour weekday at_hour at_weekday date features int str float bool datetime fields prediction
    timestamp label target key row rows columns np seen texts model version self cls name weight"""


@pytest.mark.slow
def test_no_name_of_a_field_is_taken_by_a_feature_or_by_the_code(copied: Path, tmp_path: Path) -> None:
    names = NAMES.split()
    rows = [["at", *names, "what"]]
    for hour in range(24 * 40):
        moment = (datetime(2023, 1, 1) + hour * timedelta(hours=1)).isoformat()
        cells = [str(hour * prime % 89) for prime in range(2, len(names) + 2)]
        cells[names.index("features")] = cells[names.index("texts")] = "abc"[hour % 3]
        rows.append([moment, *cells, str(hour % 24)])
    options = ("--label", "what", "--time", "at", "--label-delay", "1h")
    done = run(copied, "problem", "draft", str(write(tmp_path / "t.csv", rows, ",")), *options)
    assert (done.returncode, done.stderr) == (0, "")
    checked = run(copied, "problem", "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    (line,) = re.findall(r"features +(.*)", checked.stdout)
    fields = to_identifiers(names).values()
    assert sorted(line.split("; ")[0].split(", ")) == sorted([*fields, "at_at_hour", "at_at_weekday"])


def code_of(found: Draft, folder: Path) -> dict[str, str]:
    """The code of a draft, not formatted, by file."""
    write_code(found, "Title", "title", folder)
    return {each.name: each.read_text(encoding="utf-8") for each in folder.iterdir() if each.suffix == ".py"}


@pytest.mark.parametrize("fields", ["y", "hour,weekday", "hour,at_hour,at_at_hour"])
def test_no_derived_feature_has_the_name_of_a_field(tmp_path: Path, fields: str) -> None:
    found = drafted(series(tmp_path, timedelta(hours=1), f"at,x,label,{fields}"))
    code: dict[str, Any] = {}
    exec(code_of(found, tmp_path)["features.py"], code)
    columns = {name: found.rows[name].to_numpy() for name in found.rows}
    seen = code["features"](columns)
    assert len(seen) == len(found.inputs) + 2
    assert all((seen[each.name] == columns[each.name]).all() for each in found.inputs)


def test_every_guess_is_marked_in_the_code(churn_file: Path, tmp_path: Path) -> None:
    def marked(**options: str) -> dict[str, bool]:
        code = code_of(drafted(churn_file, "Churn", **options), tmp_path)
        lines = (code["schema.py"] + code["__init__.py"]).splitlines()
        parts = ("EventTime(", "Key()", "calls: Annotated[", "churn: Annotated[", "label_delay=", "baseline=")
        return {part: any(part in line and "guessed" in line for line in lines) for part in parts}

    assert all(marked().values())
    given = marked(key="Customer ID", delay="30D")
    assert [part for part, is_guessed in given.items() if not is_guessed] == ["Key()", "label_delay="]


def test_names_become_identifiers_and_stay_different() -> None:
    given = ["Größe (m²)", "grosse m2", "%", "2nd", "class", "model_x", "копия", "a", "A", "Heat C", "heat_c"]
    names = list(to_identifiers([*given, "variant"]).values())
    assert len(set(names)) == len(given) + 1
    assert all(name.isidentifier() for name in names)
    assert (names[4], names[5]) == ("class_", "the_model_x")
    # Requests give fields by either name, and responses have fields of their own.
    assert names[-3:] == ["heat_c_2", "heat_c", "variant_"]


def test_names_in_quotes_may_have_line_breaks(tmp_path: Path) -> None:
    rows = [
        (f"2023-01-{day:02}", str(day % 9), "1" * 310 if day == 3 else str(day), str(day % 5))
        for day in range(1, 29)
    ]
    file = write(tmp_path / "t.csv", [("at", "Calls\nper, day", "huge", "label"), *rows])
    found = drafted(file)
    assert [each.original for each in found.inputs] == ["Calls per, day", "huge"]
    assert found.column("huge").kind == "category"
    assert "max_length=310" in code_of(found, tmp_path)["schema.py"]


def test_one_column_cannot_have_two_roles(churn_file: Path) -> None:
    with pytest.raises(UserError, match="--label, --time"):
        drafted(churn_file, "Churn", key="Churn")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a table"),
        ("label\n1\n2\n", "one column"),
        ("at,label\n", "0 rows"),
        ("at,label\n2023-01-01,1\n", "1 rows"),
        (
            "at,x,X,label\n2023-01-01,1,1,2\n2023-01-02,1,1,3\n",
            "two columns are called 'X' (ignoring case)",
        ),
        ("at,x,label\n2023-01-01,1,2\n9999-12-31,1,3\n2023-01-02,1,4\n", "9999-12-31"),
        ("at,x,label\n2023-01-01,1,5\n2023-01-02,2,5\n", "one value in all rows"),
        ("at,x,label\n2023-01-01,1,a\n2023-01-02,2,b\n2023-01-03,2,c\n", "3 classes"),
        ("at,x,label\n2023-01-01,1,\n2023-01-02,2,\n", "--label label: it is empty"),
        ("at,x,other\n2023-01-01,1,1\n2023-01-02,2,2\n", "--label label: no such column"),
        ("at,x,label\n2023-01-01,1,1\n2023-01-01,1,2\n2023-01-02,1,2\n", "--key"),
        ("\0\1\2", "UTF-16"),
    ],
)
def test_unusable_table_is_rejected_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        drafted(file)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_oversized_file_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MAX_BYTES", 2000)
    with pytest.raises(UserError, match="draft from some of the rows"):
        read_raw_table(series(tmp_path, timedelta(hours=1)))


@pytest.mark.slow
def test_500_columns(tmp_path: Path) -> None:
    columns = ",".join(["at", "x", "label", *(f"c{number}" for number in range(500))])
    assert len(drafted(series(tmp_path, timedelta(hours=1), columns)).inputs) == 501


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the project with its own problem, and a feed of it."""
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__", "state", ".dvc", "feed")
    shutil.copytree(ROOT / "bike_demand", project / "bike_demand", ignore=ignored)
    for name in ("params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, project)
    (project / "feed").mkdir()
    (project / "feed" / "2011-01.csv").write_text("of before", encoding="utf-8")
    return project


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("BIKE_", "MLFLOW_"))}
    return subprocess.run(
        [sys.executable, "-m", "bike_demand", *arguments],
        cwd=project,
        env=env | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_table_of_the_future_is_rejected_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    start = datetime.now() + timedelta(days=5)
    rows = [(f"{start + timedelta(days=day):%Y-%m-%d}", str(day % 7), str(day % 5)) for day in range(60)]
    file = write(tmp_path / "t.csv", [("at", "x", "label"), *rows])
    with pytest.raises(UserError, match=r"0 rows .* not in the future"):
        draft(file, ColumnChoices("label"), "feed/", tmp_path / "params.yaml", print)


def test_a_label_delay_that_is_no_duration_is_named(tmp_path: Path) -> None:
    given = ColumnChoices(label="what", time="at", delay="soon")
    with pytest.raises(UserError, match="--label-delay: "):
        draft(tmp_path / "t.csv", given, "feed/", tmp_path / "params.yaml", print, has_monitoring=True)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another disk, where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder) / "feed"


@pytest.mark.slow
def test_the_draft_is_checked_and_ingested_without_an_edit(
    copied: Path, churn_file: Path, elsewhere: Path
) -> None:
    shutil.move(copied / "feed", elsewhere)
    params = copied / "params.yaml"
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("feed: feed/", f"feed: {elsewhere}"), encoding="utf-8")
    options = ("--label", "Churn", "--time", "Month", "--label-delay", "30d")
    done = run(copied, "problem", "draft", str(churn_file), *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "suspected leak: 'Exit fee'" in done.stdout
    (before,) = (copied / "state" / "before-draft").iterdir()
    assert (before / "feed" / "2011-01.csv").read_text() == "of before"
    assert (before / "problem" / "schema.py").exists()
    assert min(each.name for each in elsewhere.iterdir()) == "2023-01.csv"
    checked = run(copied, "problem", "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "HistGradientBoostingClassifier" in checked.stdout
    ingestion = run(copied, "ingest")
    assert (ingestion.returncode, ingestion.stderr) == (0, "")
    schema = copied / "bike_demand" / "problem" / "schema.py"
    schema.write_text(
        schema.read_text(encoding="utf-8").replace("cadence=None", 'cadence="1D"'), encoding="utf-8"
    )
    assert "12 new or changed" in run(copied, "ingest").stdout  # read again
    lint = [sys.executable, "-m", "ruff", "check", "--no-cache", "bike_demand/problem"]
    assert subprocess.run(lint, cwd=copied, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("is_loadable", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_table_that_is_rejected_changes_nothing(copied: Path, tmp_path: Path, is_loadable: bool) -> None:
    template = copied / "bike_demand" / "draft" / "templates" / "features.py.j2"
    if not is_loadable:
        template.write_text("def features(columns):\n    return {'x': columns['none']}\n", encoding="utf-8")
    before = {
        each: each.read_bytes() for each in copied.rglob("*") if each.is_file() and each.suffix != ".pyc"
    }
    file = write(tmp_path / "gap.csv", [("at", "x", "label"), *gap()], ",")
    done = run(
        copied, "problem", "draft", str(file), "--label", "label", "--time", "at", "--label-delay", "1h"
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: no rows in 2023-03"
        if is_loadable
        else "error: the draft cannot be formatted or loaded (problem: features"
    )
    after = {
        each: each.read_bytes() for each in copied.rglob("*") if each.is_file() and each.suffix != ".pyc"
    }
    assert {each: after[each] for each in before} == before


@pytest.mark.parametrize(
    "form",
    [
        "as it is",
        *(pytest.param(form, marks=pytest.mark.slow) for form in ("commented", "in one line", "left out")),
    ],
)
def test_only_what_depends_on_the_data_changes_in_the_settings(
    copied: Path, churn_file: Path, form: str
) -> None:
    params = copied / "params.yaml"
    text = params.read_text(encoding="utf-8")
    section = text[text.index("training:") :].partition("\n\n")[0]
    changed = {
        "as it is": section,
        "commented": "training: # here\n\n    # every key\n    params: {}\n# more",
        "in one line": "training: {params: {}} # here",
        "left out": "",
    }
    params.write_text(text.replace(section, changed[form]), encoding="utf-8")
    before = yaml.safe_load(params.read_text(encoding="utf-8"))
    run(
        copied,
        "problem",
        "draft",
        str(churn_file),
        "--label",
        "Churn",
        "--time",
        "Month",
        "--label-delay",
        "30d",
    )
    after = yaml.safe_load(params.read_text(encoding="utf-8"))
    first_month = before.pop("first_month")
    assert after.pop("first_month") == "2023-01"
    training, was = after.pop("training"), before.pop("training", {})
    assert training["half_life_days"] is None
    assert training["min_rows"] == 360
    assert 7 <= training["holdout_days"] <= 62
    assert training.keys() >= was.keys()
    assert training.keys() <= yaml.safe_load(text)["training"].keys()
    assert after == before
    (kept,) = copied.glob("state/before-draft/*/params.yaml")
    assert yaml.safe_load(kept.read_text(encoding="utf-8"))["first_month"] == first_month


@pytest.mark.parametrize(
    "section",
    [
        "training: {params: {},\n  min_rows: 50}\n",
        pytest.param('"training":\n  min_rows: 50\n', marks=pytest.mark.slow),
    ],
)
def test_settings_that_cannot_be_edited_change_nothing(copied: Path, churn_file: Path, section: str) -> None:
    (copied / "params.yaml").write_text(section, encoding="utf-8")
    options = ("--label", "Churn", "--time", "Month", "--label-delay", "30d")
    done = run(copied, "problem", "draft", str(churn_file), *options)
    assert (done.returncode, "write first_month and `training:` without quotes" in done.stderr) == (1, True)
    assert (copied / "params.yaml").read_text(encoding="utf-8") == section
    assert not (copied / "state").exists()


@pytest.mark.parametrize("surplus", ["as row names", "by decimal commas", "empty"])
def test_values_without_a_name_are_refused_instead_of_shifted(tmp_path: Path, surplus: str) -> None:
    rows = [[f"2023-01-{day:02}", f"{day}", f"{day % 5}"] for day in range(1, 29)]
    more = {"as row names": (0, "r"), "by decimal commas": (2, "5"), "empty": (3, "")}
    for row in rows:
        row.insert(*more[surplus])
    file = write(tmp_path / "t.csv", [("at", "x", "label"), *rows], ",")
    if surplus == "empty":
        assert list(read_raw_table(file).cells.columns) == ["at", "x", "label"]
    else:
        with pytest.raises(UserError, match=r"record 2 has 4 values for 3 names"):
            read_raw_table(file)


@pytest.mark.parametrize(
    "broken", ["replace_folder", pytest.param("write_atomically", marks=pytest.mark.slow)]
)
def test_a_draft_that_cannot_be_installed_changes_nothing(
    copied: Path, churn_file: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.chdir(copied)
    monkeypatch.setattr(command, "__file__", str(copied / "bike_demand" / "draft" / "command.py"))
    before = contents(copied)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(command, broken, full)
    choices = ColumnChoices("Churn", time="Month", delay="30d")
    with pytest.raises(OSError, match="No space"):
        draft(churn_file, choices, "feed", Path("params.yaml"), print)
    shutil.rmtree(copied / "state")
    assert contents(copied) == before


@pytest.mark.slow
def test_a_second_draft_keeps_what_was_written_since_the_first(copied: Path, churn_file: Path) -> None:
    options = ("--label", "Churn", "--time", "Month", "--label-delay", "30d")
    schema = copied / "bike_demand" / "problem" / "schema.py"
    for edit, name in (("# mine, first\n", "churn"), ("# mine, second\n", "churn"), ("", "leavers")):
        renamed = ("--name", name) if name != "churn" else ()
        assert run(copied, "problem", "draft", str(churn_file), *options, *renamed).returncode == 0
        assert f'name="{name}"' in schema.with_name("__init__.py").read_text(encoding="utf-8")
        schema.write_text(schema.read_text(encoding="utf-8") + edit, encoding="utf-8")
        churn_file = churn_file.replace(churn_file.with_name("churn_2025.csv"))
    kept = [
        (each / "problem" / "schema.py").read_text(encoding="utf-8")
        for each in (copied / "state" / "before-draft").iterdir()
    ]
    assert sum("# mine, first" in text for text in kept) == 1
    assert sum("# mine, second" in text for text in kept) == 1


def gap() -> list[tuple[str, str, str]]:
    """Rows of February and April."""
    return [
        (f"2023-{month}-{day:02}", str(day), str(day % 5)) for month in ("02", "04") for day in range(1, 29)
    ]
