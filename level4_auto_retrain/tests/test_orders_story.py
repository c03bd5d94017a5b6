"""The story of this level with labels that are known 30 days late, of rows that are distinguished by a key.

Most orders of one channel are returned from STEP on. The outcomes show it a month later; the version that is
trained then knows no label that was not due, is tested by customer, and promoted when its labels are due.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import ROOT
from tests.orders.feed import COLUMNS, DELAY, RATES, orders, publish
from tests.project_copy import change_params, commit
from tests.service import running
from tests.test_story import wait_for_version

STEP = date(2012, 4, 10)  # from this day on most of what is ordered by the web comes back
STORY = [
    *orders(date(2012, 1, 1), STEP),
    *orders(STEP, date(2012, 7, 15), RATES | {2: 0.9}),
]


@pytest.fixture
def shop(copy: Path) -> Path:
    """A copy of the project with orders in the place of its problem, and so an A/B test by customer."""
    problem = copy / "bike_demand" / "problem" / "__init__.py"
    shutil.copy(ROOT / "tests" / "orders" / "__init__.py", problem)
    shutil.rmtree(copy / "feed")
    change_params(
        copy,
        first_month="2012-01",
        automatic="true",
        flush_seconds="0.05",
        worst_ratio="1",
    )
    commit(copy)
    return copy


def command(folder: Path, *arguments: str) -> str:
    """What a command of the project prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("BIKE_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-m", "bike_demand", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def agent(folder: Path, now: datetime) -> str:
    """Publish what is known by now, and run a monitoring cycle."""
    publish(folder / "feed", STORY, now)
    return command(folder, "agent", "--once", "--as-of", f"{now:%Y-%m-%d}")


def replay(application: httpx.Client, first: datetime, end: datetime) -> list[dict[str, Any]]:
    """Requests predictions of the orders of these days, and reports the labels due; returns the responses."""
    given: list[dict[str, Any]] = []
    day = first
    while day < end:
        following = day + timedelta(days=1)
        requested = [
            {name: row[name] for name in COLUMNS[:-1]} | {"ordered_at": row["ordered_at"].isoformat()}
            for row in STORY
            if day <= row["ordered_at"] < following
        ]
        given += application.post("/predict", json=requested).raise_for_status().json()
        known = [
            {
                "ordered_at": row["ordered_at"].isoformat(),
                "customer": row["customer"],
                "returned": row["returned"],
            }
            for row in STORY
            if day <= row["ordered_at"] + DELAY < following
        ]
        application.post("/outcomes", json=known).raise_for_status()
        day = following
    return given


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_change_visible_only_a_month_later_is_learned(shop: Path) -> None:
    start, noticed, last_decision = datetime(2012, 4, 1), datetime(2012, 5, 30), datetime(2012, 7, 10)
    agent(shop, start)
    with running(shop) as service:
        wait_for_version(service.client, 1)
        replay(service.client, start, noticed)
        assert "error-drift" in agent(shop, noticed)

        # Version 2 learned from no label that was not due, and nothing was judged before its time.
        monitored = json.loads(command(shop, "monitor", "--json", "--as-of", f"{noticed:%Y-%m-%d}"))
        assert [each["version"] for each in monitored["trainings"]] == [1, 2]
        assert monitored["releases"][-1]["version"] == 1
        status = command(shop, "ab", "status", "--as-of", f"{noticed:%Y-%m-%d}")
        assert "Version 2 is tested against version 1" in status

        # Each customer gets the predictions of one version only, and half of them those of the new one.
        variants = defaultdict(set)
        answers = replay(service.client, noticed, last_decision)
        for each in answers[500:]:
            variants[each["customer"]].add(each["variant"])
        assert all(len(each) == 1 for each in variants.values())
        assert {variant for each in variants.values() for variant in each} == {"champion", "challenger"}

        assert "Version 2 won its A/B test" in agent(shop, last_decision)
        wait_for_version(service.client, 2)
    traced = json.loads(command(shop, "trace", answers[-1]["id"], "--json"))
    assert traced["traffic_split"]["randomize_by"] == "key"
    assert datetime.fromisoformat(traced["data"]["last"]) + DELAY <= noticed
