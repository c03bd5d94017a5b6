"""The gate before training: every kind of bad data is stopped, and good data are not."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bike_demand.data.schema import Hour
from bike_demand.data.validate import check
from bike_demand.settings import Validation, load_settings
from tests.conftest import ROOT, Run
from tests.feedmaker import MONTHS, month_lines, write_month

SETTINGS = load_settings(ROOT / "params.yaml").validation
WINTER, SUMMER = 4.0, 28.0


def hours(days: int, temp_c: float = WINTER, first: datetime = datetime(2012, 1, 1)) -> list[Hour]:
    """Every hour of so many days, at the same temperature."""
    return [
        Hour(
            timestamp=first + timedelta(hours=number),
            holiday=0,
            workingday=1,
            weather=1,
            temp_c=temp_c,
            feels_like_c=temp_c,
            humidity=0.5,
            windspeed_kmh=10.0,
            count=10,
        )
        for number in range(days * 24)
    ]


def fahrenheit(row: Hour) -> Hour:
    return row.model_copy(update={"temp_c": row.temp_c * 9 / 5 + 32})


def problems(rows: list[Hour], now: datetime | None = None, settings: Validation = SETTINGS) -> list[str]:
    return [str(problem) for problem in check(rows, settings, now)]


def test_ordinary_hours_pass() -> None:
    assert problems(hours(60)) == []


@pytest.mark.parametrize("temp_c", [WINTER, SUMMER, -8.0])
def test_a_unit_that_changes_is_found_with_the_hours_it_changed_for(temp_c: float) -> None:
    rows = hours(40, temp_c)
    rows[-240:] = map(fahrenheit, rows[-240:])
    (said,) = problems(rows)
    assert "temp_c changes its unit" in said
    assert "240 hours, 2012-01-31T00:00:00 to 2012-02-09T23:00:00" in said


def test_a_unit_that_was_wrong_for_a_while_is_found_afterwards_too() -> None:
    rows = hours(40)
    rows[-240:-120] = map(fahrenheit, rows[-240:-120])
    (said,) = problems(rows)
    assert "120 hours, 2012-01-31T00:00:00 to 2012-02-04T23:00:00" in said


def test_a_unit_that_changes_back_within_the_hours_looked_at_is_found() -> None:
    rows = hours(60)
    rows[-40 * 24 : -30 * 24] = map(fahrenheit, rows[-40 * 24 : -30 * 24])
    (said,) = problems(rows)
    assert "temp_c changes its unit" in said


def test_a_cold_front_and_a_warm_day_are_weather() -> None:
    rows = hours(40, 20.0)
    for number, row in enumerate(rows[-48:]):
        rows[len(rows) - 48 + number] = row.model_copy(update={"temp_c": max(20.0 - 2 * number, 0.0)})
    for number, row in enumerate(rows[240:264]):
        rows[240 + number] = row.model_copy(update={"temp_c": 20.0 + min(number, 23 - number)})
    assert problems(rows) == []


def test_too_many_missing_hours_are_found() -> None:
    rows = hours(40)
    del rows[-10 * 24 : -7 * 24]  # three of fourteen days
    (said,) = problems(rows)
    assert "72 of 336 hours are missing" in said
    assert "2012-01-31T00:00:00 to 2012-02-02T23:00:00" in said


def test_hours_missing_where_the_days_looked_at_begin_are_found() -> None:
    rows = hours(40)
    del rows[4 * 24 : 8 * 24]
    (said,) = problems(rows)
    assert "are missing" in said


def test_the_few_hours_without_any_rental_are_not_missed() -> None:
    assert problems([row for row in hours(40) if row.timestamp.hour != 3]) == []


def test_a_stale_feed_is_found_by_the_time_that_is_given() -> None:
    rows = hours(40)
    end = datetime(2012, 2, 10)
    assert problems(rows, end + timedelta(hours=48)) == []
    (said,) = problems(rows, end + timedelta(hours=49))
    assert "stale" in said
    assert "49 hours ago" in said
    assert "2012-02-09T23:00:00" in said


def test_all_that_is_wrong_is_told_at_once() -> None:
    rows = hours(40)
    rows[-24:] = map(fahrenheit, rows[-24:])
    del rows[-10 * 24 : -7 * 24]
    assert len(problems(rows, datetime(2012, 3, 1))) == 3


def test_what_an_earlier_training_looked_at_is_not_looked_at_again() -> None:
    rows = hours(90)
    rows[:240] = map(fahrenheit, rows[:240])
    assert problems(rows) == []


def test_the_command_tells_the_problem_in_one_line_and_the_hours_in_a_file(project: Path, run: Run) -> None:
    lines = month_lines(MONTHS[-1])
    for number, line in enumerate(lines[400:], start=400):
        cells = line.split(",")
        cells[4] = f"{float(cells[4]) * 9 / 5 + 32:.2f}"
        lines[number] = ",".join(cells)
    write_month(project / "feed" / f"{MONTHS[-1]}.csv", lines)
    assert run("ingest").status == 0
    assert "Known and left out: temp_c changes its unit: " in run("validate").out
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert "units: {jump_c: 12, then: leave-out}" in text
    params.write_text(text.replace("12, then: leave-out", "12, then: stop"), encoding="utf-8")
    said = run("validate").refusal()
    assert "not fit for training" in said
    assert lines[400][:19] in said
    (told,) = json.loads(Path("state/reports/validation.json").read_text(encoding="utf-8"))
    assert told["hours"][0] == lines[400][:19]
    assert len(told["hours"]) > 300


def test_the_command_says_what_it_found_fit(project: Path, run: Run) -> None:
    run("ingest")
    said = run("validate")
    assert (said.status, said.err) == (0, "")
    assert "2011-01-01 to 2011-03-31, are fit" in said.out
    assert not (project / "state" / "reports" / "validation.json").exists()


@pytest.mark.usefixtures("project")
def test_the_command_finds_a_feed_stale_as_of_a_date(run: Run) -> None:
    run("ingest")
    assert run("validate", "--as-of", "2011-04-02").status == 0
    assert "stale" in run("validate", "--as-of", "2011-04-05").refusal()


def test_by_the_clock_on_the_wall_a_feed_of_long_ago_is_stale(project: Path, run: Run) -> None:
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert "clock: feed" in text
    params.write_text(text.replace("clock: feed", "clock: wall"), encoding="utf-8")
    run("ingest")
    assert "stale" in run("validate").refusal()


def test_an_hour_that_stands_there_twice_is_found_even_if_somebody_put_it_there(
    project: Path, run: Run
) -> None:
    run("ingest")
    path = project / "state" / "data" / "2011-02.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:10], lines[9], *lines[10:]]) + "\n", encoding="utf-8")
    said = run("validate").refusal()
    assert "stands there twice" in said
    assert "2011-02.csv, line 11" in said
