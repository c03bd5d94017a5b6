"""The `validate` command and the clock by which it judges."""

import json
from pathlib import Path

import pandas as pd
import pytest

from bike_demand.data.frames import to_parquet
from tests.conftest import Run
from tests.feedmaker import HEADER, MONTHS, month_lines, write_month

HEAT = HEADER.split(",").index("heat")


def test_bad_rows_are_excluded_and_listed(project: Path, run: Run) -> None:
    lines = month_lines(MONTHS[-1])
    for number, line in enumerate(lines[400:], start=400):
        cells = line.split(",")
        cells[HEAT] = f"{float(cells[HEAT]) * 9 / 5 + 32:.2f}"
        lines[number] = ",".join(cells)
    write_month(project / "feed" / f"{MONTHS[-1]}.csv", lines)
    assert run("ingest").status == 0
    out = run("validate").out
    assert "Excluded from training: heat changes its unit: " in out
    assert lines[400][:19] in out


def test_ongoing_gap_fails_and_lists_rows(project: Path, run: Run) -> None:
    lines = month_lines(MONTHS[-1])
    write_month(project / "feed" / f"{MONTHS[-1]}.csv", [*lines[:-24], *lines[-24::3]])
    assert run("ingest").status == 0
    assert "not fit for training" in run("validate").refusal()
    (content,) = json.loads(Path("state/reports/validation.json").read_text(encoding="utf-8"))
    assert len(content["rows"]) >= 14


def test_the_command_says_what_it_found_fit(project: Path, run: Run) -> None:
    run("ingest")
    output = run("validate")
    assert (output.status, output.err) == (0, "")
    assert "2011-01-01 to 2011-03-31, are fit" in output.out
    assert not (project / "state" / "reports" / "validation.json").exists()


@pytest.mark.usefixtures("project")
def test_the_command_finds_a_feed_stale_as_of_a_date(run: Run) -> None:
    run("ingest")
    assert run("validate", "--as-of", "2011-04-02").status == 0
    assert "stale" in run("validate", "--as-of", "2011-04-05").refusal()


@pytest.mark.usefixtures("project")
def test_date_before_the_first_row_is_rejected(run: Run) -> None:
    run("ingest")
    assert "no rows before --as-of" in run("validate", "--as-of", "2011-01-01").refusal()


def test_wall_clock_makes_old_feed_stale(project: Path, run: Run) -> None:
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert "clock: feed" in text
    params.write_text(text.replace("clock: feed", "clock: wall"), encoding="utf-8")
    run("ingest")
    assert "stale" in run("validate").refusal()


def test_duplicated_row_in_ingested_month_is_found(project: Path, run: Run) -> None:
    run("ingest")
    path = project / "state" / "data" / "2011-02.parquet"
    rows = pd.read_parquet(path)
    path.write_bytes(to_parquet(pd.concat([rows[:10], rows[9:]])))
    assert "2011-02.parquet: damaged or changed since it was ingested" in run("validate").refusal()
