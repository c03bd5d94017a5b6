"""The `validate` command and the clock by which it judges."""

import json
from pathlib import Path

import pandas as pd
import pytest

from bike_demand.data.frames import to_parquet
from tests.conftest import Run
from tests.feedmaker import HEADER, MONTHS, month_lines, write_month

HEAT = HEADER.split(",").index("heat")


def test_the_command_names_the_violation_in_one_line_and_the_rows_in_a_file(project: Path, run: Run) -> None:
    lines = month_lines(MONTHS[-1])
    for number, line in enumerate(lines[400:], start=400):
        cells = line.split(",")
        cells[HEAT] = f"{float(cells[HEAT]) * 9 / 5 + 32:.2f}"
        lines[number] = ",".join(cells)
    write_month(project / "feed" / f"{MONTHS[-1]}.csv", lines)
    assert run("ingest").status == 0
    output = run("validate").refusal()
    assert "not fit for training" in output
    assert lines[400][:19] in output
    (reported,) = json.loads(Path("state/reports/validation.json").read_text(encoding="utf-8"))
    assert ",".join(reported["rows"][0]) == lines[400][:23]
    assert len(reported["rows"]) > 300


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
