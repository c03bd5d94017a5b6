"""The story of this level, from drift to promotion: the first test to read.

A model is live, and output steps up. The loop notices it by the outcomes, trains on the newest data, takes
the new version through the gates to an A/B test, and promotes it. Nobody types anything but `agent`, which
runs once a day; the application requests predictions and reports outcomes over HTTP.
"""

import json
import time
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from bike_demand import stages
from bike_demand.core.current import INPUT_COLUMNS, Row, identity_fields
from bike_demand.core.settings import RUN
from bike_demand.data.month import iso
from tests.conftest import Run
from tests.feedmaker import HEADER, month_lines, write_month
from tests.project_copy import change_params, commit
from tests.registry import copy_store, deploy_without_gates, register
from tests.service import running
from tests.test_loop import happened

STEP = "2011-03-01"  # output is higher from this day on


def raise_output(feed: Path) -> list[Row]:
    """Publish March with half as much output again; the rows of the story."""
    columns = HEADER.split(",")
    lines = []
    for line in month_lines("2011-03"):
        row = dict(zip(columns, line.split(","), strict=True))
        row["part_b"] = str(int(row["part_b"]) + int(row["amount"]) // 2)
        row["amount"] = str(int(row["part_a"]) + int(row["part_b"]))
        lines.append(",".join(row.values()))
    write_month(feed / "2011-03.csv", lines)
    return [
        row if iso(row.begins) < STEP else row.model_copy(update={"amount": row.amount + row.amount // 2})
        for row in happened("2011-01-01", "2011-04-01")
    ]


def replay(application: httpx.Client, story: list[Row], first: str, end: str) -> set[str]:
    """Requests a prediction of each row and reports its label; returns the variants shown."""
    rows = [row for row in story if first <= iso(row.begins) < end]
    requested = [row.model_dump(mode="json", include=set(INPUT_COLUMNS)) for row in rows]
    answers = application.post("/predict", json=requested).raise_for_status().json()
    outcomes = [identity_fields(row) | {"amount": row.amount} for row in rows]
    application.post("/outcomes", json=outcomes).raise_for_status()
    return {answer["variant"] for answer in answers}


def wait_for_version(application: httpx.Client, version: int) -> None:
    """Wait until the service predicts with a version: it polls the registry every second."""
    deadline = time.monotonic() + 30
    while (answer := application.get("/model")).status_code != 200 or answer.json()["version"] != str(
        version
    ):
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


def release_first_version(as_of: datetime, run: Run) -> None:
    """Train and release version 1, without DVC and gates, which take longest."""
    assert run("ingest", "--as-of", as_of.isoformat()).status == 0
    assert stages.main(["validate"]) == stages.main(["train"]) == 0
    report = json.loads((RUN / "report.json").read_text(encoding="utf-8"))
    register(
        RUN / "refit", RUN / "holdout", last=report["refit"]["last"], holdout_last=report["holdout"]["last"]
    )
    deploy_without_gates(1, at=as_of)


@pytest.mark.timeout(300)
def test_level_shift_is_learned_and_promoted(copy: Path, empty_store: Path, run: Run) -> None:
    change_params(copy, automatic="true", flush_seconds="0.05")
    commit(copy)
    copy_store(empty_store, copy)
    story = raise_output(copy / "feed")

    def agent(day: str) -> str:
        output = run("agent", "--once", "--as-of", day)
        assert output.status == 0, output.err
        return output.out

    release_first_version(datetime(2011, 2, 15), run)
    with running(copy) as service:
        wait_for_version(service.client, 1)

        # Two weeks as the model knows them: nothing to do.
        replay(service.client, story, "2011-02-15", STEP)
        assert "nothing to do" in agent(STEP)

        # Four days of higher output: the error drifts; version 2 is trained, passes the gates, is tested.
        replay(service.client, story, STEP, "2011-03-05")
        assert "error-drift" in agent("2011-03-05")
        monitored = json.loads(run("monitor", "--json", "--as-of", "2011-03-05").out)
        assert [each["version"] for each in monitored["trainings"]] == [2]
        assert monitored["releases"][-1]["version"] == 1

        # In the test users get predictions of both; after a few days the new one is significantly better.
        assert replay(service.client, story, "2011-03-05", "2011-03-11") == {"champion", "challenger"}
        assert "Version 2 won its A/B test" in agent("2011-03-11")
        wait_for_version(service.client, 2)

    # All of it was stored.
    monitored = json.loads(run("monitor", "--json", "--as-of", "2011-03-11").out)
    assert (monitored["releases"][-1]["version"], monitored["trainings"][-1]["detail"]["result"]) == (
        2,
        "went live",
    )
    alerts = (copy / "state" / "alerts.log").read_text(encoding="utf-8").splitlines()
    assert any(json.loads(line)["alert"]["key"].startswith("error-drift") for line in alerts)
