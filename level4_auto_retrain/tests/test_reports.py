"""Evidently's reports: their tests, and the dashboard in the workspace."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from bike_demand.core.settings import EVIDENTLY, NullsRule, QualityRules, load_settings
from bike_demand.monitoring import reports
from tests.corrupted import feed_rows
from tests.feedmaker import copy_params
from tests.ingested import frame
from tests.service import free_port

WEEK = timedelta(days=7)
NOW = datetime(2011, 3, 8)
KINDS = {"data drift", "data summary", "model quality"}


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with the reports of two weeks, which is the current folder. In the second one the inputs were
    hot, one was missing and the predictions were wrong.
    """
    folder = tmp_path_factory.mktemp("weeks")
    copy_params(folder)
    with chdir(folder):
        write(NOW)
        write(NOW + WEEK, heat=130.0, core_heat=140.0, moisture=np.nan, times=2.0)
        yield folder


def write(now: datetime, times: float = 1.1, **inputs: float) -> tuple[dict[str, float], list[str]]:
    """Write the reports of a week in which these inputs had these values; what was found of drift."""
    rows = frame(feed_rows())
    predictions, targets = times * rows["amount"].to_numpy(float), rows["amount"].to_numpy(float)
    begins = rows["begins"]
    week, before = (begins >= now - WEEK) & (begins < now), begins < datetime(2011, 3, 1)
    requested = reports.table(rows[week].assign(**inputs), predictions[week])
    learned = reports.table(rows[before], predictions[before])
    settings = load_settings()
    found = reports.write_drift_report(requested, learned, now, settings.monitoring.drift, force_report=False)
    reports.write_input_summary(requested, now, settings.quality)
    reports.write_model_quality(predictions[week], targets[week], now, 50.0, 60.0)
    return found


def snapshots(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The snapshots of this kind, as the workspace keeps them, ascending."""
    files = (folder / EVIDENTLY / str(reports.PROJECT) / "snapshots").iterdir()
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return sorted((each for each in found if each["tags"] == [kind]), key=lambda each: each["timestamp"])


def failed(snapshot: dict[str, Any]) -> str:
    """The names of the tests that failed, in one text."""
    tests = [test for each in snapshot["metric_results"].values() for test in each["tests"]]
    assert len(tests) >= 3
    return "\n".join(test["name"] for test in tests if test["status"] != "SUCCESS")


@pytest.mark.parametrize(
    ("kind", "subjects"),
    [
        ("data drift", ["heat", "core_heat", "Share of Drifted Columns"]),
        ("data summary", ["'heat'", "'core_heat'", "'moisture' missing values"]),
        ("model quality", ["'error'", "'bias'"]),
    ],
)
def test_quality_tests_pass_in_a_good_week_and_fail_in_a_bad_one(
    weeks: Path, kind: str, subjects: list[str]
) -> None:
    good, bad = snapshots(weeks, kind)
    assert failed(good) == ""
    assert all(subject in failed(bad) for subject in subjects)
    assert "speed" not in failed(bad)
    assert good["timestamp"] == NOW.isoformat()


def test_accepted_nulls_are_not_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = frame(feed_rows()[:200])
    requested = reports.table(rows.assign(moisture=np.nan), rows["amount"].to_numpy(float))
    rules = QualityRules(nulls=NullsRule(allowed=("moisture",)))
    reports.write_input_summary(requested, NOW, rules)
    (snapshot,) = snapshots(tmp_path, "data summary")
    assert "missing values" not in failed(snapshot)


def test_workspace_holds_no_raw_rows(weeks: Path) -> None:
    kept = [
        file.relative_to(weeks / EVIDENTLY / str(reports.PROJECT))
        for file in (weeks / EVIDENTLY).rglob("*.*")
    ]
    assert {file.parts[0] for file in kept} == {"metadata.json", "dashboard.json", "snapshots"}
    assert {file.suffix for file in kept} == {".json"}


@pytest.mark.parametrize(
    ("is_probability", "targets", "metrics"),
    [
        (False, [0, 1, 2, 3] * 5, {"MAE", "R2Score"}),
        (True, [0, 1, 1, 0] * 5, {"RocAuc", "F1Score"}),
        pytest.param(True, [0, 0, 0, 0] * 5, {"MeanValue"}, id="one-class"),
        pytest.param(False, [0, 0, 0, 0] * 5, {"MeanValue"}, id="zeros"),
    ],
)
def test_quality_report_matches_problem_type(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_probability: bool,
    targets: list[int],
    metrics: set[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reports, "IS_PROBABILITY", is_probability)
    reports.write_model_quality(np.array([0.2, 0.7, 0.4, 0.1] * 5), np.array(targets, float), NOW, None, 1.0)
    (snapshot,) = snapshots(tmp_path, "model quality")
    found = {
        each["metric_value_location"]["metric"]["params"]["type"].rpartition(":")[2]
        for each in snapshot["metric_results"].values()
    }
    assert metrics <= found
    assert ("MAE" in found, "RocAuc" in found) == ("MAE" in metrics, "RocAuc" in metrics)


def test_truncated_file_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ones = np.ones(5)
    for _ in range(2):
        reports.write_model_quality(ones, ones, NOW, None, 1.0)
    project = EVIDENTLY / str(reports.PROJECT)
    for file in (
        next((project / "snapshots").iterdir()),
        project / "metadata.json",
        project / "dashboard.json",
    ):
        file.write_text(file.read_text(encoding="utf-8")[:20], encoding="utf-8")
    reports._workspace.cache_clear()  # another process
    reports.write_model_quality(ones, ones, NOW + WEEK, None, 1.0)
    kept = snapshots(tmp_path, "model quality")
    assert [each["timestamp"] for each in kept] == [NOW.isoformat(), (NOW + WEEK).isoformat()]
    dashboard = json.loads((project / "dashboard.json").read_text(encoding="utf-8"))
    assert len(dashboard["panels"]) >= 5


@pytest.mark.slow
def test_evidently_shows_reports_and_dashboard_panels(
    weeks: Path,
) -> None:
    with evidently_ui(weeks) as url, httpx.Client(base_url=f"{url}/api/projects", timeout=30) as client:
        (project,) = client.get("/").json()
        assert project["id"] == str(reports.PROJECT)
        listed = client.get(f"/{reports.PROJECT}/snapshots").json()
        assert {tag for each in listed for tag in each["tags"]} == KINDS
        assert len(listed) == 6
        dashboard = client.get(f"{url}/api/v2/dashboards/{reports.PROJECT}").json()
        panels = {each["title"]: each["values"] for each in dashboard["panels"]}
        assert {"Bias", "Drifted columns", "Missing values", "Requests"} <= set(panels)
        assert [each["id"] for each in dashboard["panels"]] == dashboard["tabs"][0]["panels"]
        shown = {}
        for title, values in panels.items():
            found = client.post(
                f"{url}/api/v2/snapshots/{reports.PROJECT}/data_series_batch", json={"series_filter": values}
            ).json()
            assert len(found["sources"]) == 2, title
            # Another set of columns is another series.
            values_of_weeks = zip_longest(*(each["values"] for each in found["series"]))
            shown[title] = [next(value for value in week if value is not None) for week in values_of_weeks]
        assert shown["Drifted columns"] == [0.0, pytest.approx(2 / 9)]
        assert shown["Missing values"][1] > shown["Missing values"][0]
        (report,) = (
            each for each in listed if each["tags"] == ["model quality"] and "03-08" in each["timestamp"]
        )
        data = client.get(f"/{reports.PROJECT}/{report['id']}/data").json()
        assert data["widgets"]


@contextmanager
def evidently_ui(folder: Path) -> Iterator[str]:
    """`evidently ui` of a project, once it responds; its address."""
    port = free_port()
    command = ["ui", "--workspace", str(EVIDENTLY), "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "evidently.log"
    with log.open("wb") as output:
        process = psutil.Popen(
            [sys.executable, "-m", "evidently.cli", *command],
            cwd=folder,
            env={**os.environ, "DO_NOT_TRACK": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + 100
        while not responds(f"http://127.0.0.1:{port}/api/version"):
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(log.read_text(encoding="utf-8")[-2000:])
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def responds(address: str) -> bool:
    """Whether a server does, there."""
    try:
        return httpx.get(address, timeout=5).is_success
    except httpx.TransportError:
        return False
