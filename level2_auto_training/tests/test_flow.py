"""The training as a flow, on a real Prefect server."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import COPY_ENVIRONMENT, ENVIRONMENT
from tests.project_copy import change_params, commit

PATIENCE_SECONDS = 90


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server with a database of its own."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    env = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    settings = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=env | settings, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}/api"
        until = time.monotonic() + PATIENCE_SECONDS
        while not _answers(address):
            assert server.poll() is None, (home / "server.log").read_text(encoding="utf-8")
            assert time.monotonic() < until, "the Prefect server did not start"
            time.sleep(0.3)
        yield address
    finally:
        everyone = [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]
        for process in everyone:
            process.terminate()
        for process in psutil.wait_procs(everyone, timeout=10)[1]:
            process.kill()
        server.wait()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def train(folder: Path, api: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in COPY_ENVIRONMENT}
    return subprocess.run(
        [sys.executable, "-m", "bike_demand", "train"],
        cwd=folder,
        env=env | {"PREFECT_API_URL": api} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def artifacts(api: str, key: str) -> list[dict[str, Any]]:
    """What flows left under that key, the newest first."""
    wanted = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
    found: list[dict[str, Any]] = httpx.post(f"{api}/artifacts/filter", json=wanted).json()
    return found


def task_runs(api: str) -> dict[str, dict[str, Any]]:
    """The task runs of the newest flow run, by the name of the task."""
    (newest,) = httpx.post(
        f"{api}/flow_runs/filter", json={"limit": 1, "sort": "EXPECTED_START_TIME_DESC"}
    ).json()
    found = httpx.post(f"{api}/task_runs/filter", json={"flow_runs": {"id": {"any_": [newest["id"]]}}}).json()
    return {each["name"]: each for each in found}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_steps_are_tasks_of_a_flow_that_the_server_knows(copy: Path, api: str) -> None:
    done = train(copy, api)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Running as a flow on the Prefect server at {api}.\n")
    assert "registered as version 1" in done.stdout
    tasks = task_runs(api)
    assert set(tasks) == {"ingest", "validate", "dvc repro", "register"}
    assert {each["state_type"] for each in tasks.values()} == {"COMPLETED"}
    table = json.loads(artifacts(api, "metrics")[0]["data"])
    assert {"holdout_error", "bias"} <= {each["metric"] for each in table}


@pytest.mark.slow
def test_unreachable_feed_is_retried_but_invalid_feed_is_not(copy: Path, api: str) -> None:
    change_params(copy, retry_seconds="[0, 0]")
    commit(copy)
    with socket.socket() as probe:  # bound, but nobody listens
        probe.bind(("127.0.0.1", 0))
        done = train(copy, api, BIKE_FEED=f"http://127.0.0.1:{probe.getsockname()[1]}/feed")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be read" in done.stderr
    tasks = task_runs(api)
    assert set(tasks) == {"ingest"}
    assert tasks["ingest"]["run_count"] == 3
    (copy / "feed" / "2011-02.csv").unlink()
    done = train(copy, api)
    assert "2011-02 is missing" in done.stderr
    assert done.stderr.count("\n") == 1
    assert task_runs(api)["ingest"]["run_count"] == 1
