"""Training and deployment as flows, on a real Prefect server."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from filelock import FileLock

from bike_demand.core.settings import load_settings
from bike_demand.release.gates import GATES
from bike_demand.store.tracking import Tracking
from tests.conftest import COPY_ENVIRONMENT, ENVIRONMENT, ROOT
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


def train(folder: Path, api: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in COPY_ENVIRONMENT}
    return subprocess.run(
        [sys.executable, "-m", "bike_demand", "train", *options],
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
    """The task runs of the newest flow run that began, by name, in their order."""
    began = {"flow_runs": {"start_time": {"is_null_": False}}}  # others are on the schedule
    (newest,) = httpx.post(
        f"{api}/flow_runs/filter", json=began | {"limit": 1, "sort": "START_TIME_DESC"}
    ).json()
    wanted = {"flow_runs": {"id": {"any_": [newest["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
    found = httpx.post(f"{api}/task_runs/filter", json=wanted).json()
    return {each["name"]: each for each in found}


def deploy(folder: Path, api: str) -> subprocess.CompletedProcess[str]:
    """The flow, run as by a worker."""
    env = {name: value for name, value in os.environ.items() if name not in COPY_ENVIRONMENT}
    return subprocess.run(
        [sys.executable, "-c", "from bike_demand.flows import deploy; deploy('1')"],
        cwd=folder,
        env=env | {"PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "state" / "prefect")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(600)
def test_the_steps_are_tasks_of_a_flow_that_the_server_knows(copy: Path, api: str) -> None:
    done = train(copy, api)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Running as a flow on the Prefect server at {api}.\n")
    assert "registered as version 1" in done.stdout
    tasks = task_runs(api)
    assert set(tasks) == {"ingest", "validate", "dvc repro", "register", "decide on a deployment"}
    assert {each["state_type"] for each in tasks.values()} == {"COMPLETED"}
    table = json.loads(artifacts(api, "metrics")[0]["data"])
    assert {"holdout_error", "bias"} <= {each["metric"] for each in table}
    # Each gate is a task. One that refuses failed, and none comes after it.
    for path in (copy / "state" / "artifacts").rglob("*.onnx"):
        path.write_bytes(b"another model")
    assert deploy(copy, api).returncode == 1
    tasks = task_runs(api)
    assert {name: each["state_type"] for name, each in tasks.items()} == {
        "connect": "COMPLETED",
        "gate: blocked": "COMPLETED",
        "gate: artifact": "FAILED",
    }
    assert "| artifact | **REFUSED** |" in artifacts(api, "deployment")[0]["data"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_gate_and_what_follows_are_tasks_of_a_deployment(copy: Path, api: str) -> None:
    assert train(copy, api).returncode == 0
    another = FileLock(copy / "state" / ".production.db.deployment", thread_local=False)
    another.acquire()
    threading.Timer(15, partial(another.release, force=True)).start()
    done = deploy(copy, api)
    assert done.returncode == 0, done.stderr
    tasks = task_runs(api)
    gates = [gate.id for gate in GATES]
    assert list(tasks) == ["connect", *(f"gate: {each}" for each in gates), "go live"]
    assert {each["state_type"] for each in tasks.values()} == {"COMPLETED"}
    decision = artifacts(api, "deployment")[0]["data"]
    assert decision.startswith("# Version 1: live")
    assert re.findall(r"(?m)^\| ([\w-]+) \| passed \|", decision) == gates


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_new_version_starts_its_deployment_on_the_server(copy: Path, api: str) -> None:
    change_params(copy, automatic="true")
    commit(copy)
    shutil.copy(ROOT / "prefect.yaml", copy)
    env = os.environ | {"PREFECT_API_URL": api, "PREFECT_HOME": str(copy / "state" / "prefect")}
    for command in (
        ("work-pool", "create", "--type", "process", "training"),
        ("--no-prompt", "deploy", "--all"),
    ):
        subprocess.run(
            [sys.executable, "-m", "prefect", *command], cwd=copy, env=env, check=True, capture_output=True
        )
    assert train(copy, api, "--no-deploy").stdout.splitlines()[-1].startswith("Deploy it with: ")
    done = train(copy, api)  # trains nothing new, but nobody deployed that version
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to do" in done.stdout
    *_, deployed_by, warning = done.stdout.splitlines()
    assert deployed_by == "The deployment runs on the Prefect server."
    assert "prefect worker start --pool training" in warning  # nothing polls there
    until = time.monotonic() + PATIENCE_SECONDS
    by_automation = {"deployments": {"name": {"any_": ["automatic"]}}}  # other tests run the flow without one
    while not (found := httpx.post(f"{api}/flow_runs/filter", json=by_automation).json()):
        assert time.monotonic() < until, "no run of the flow `deploy` was made"
        time.sleep(0.5)
    (made,) = found
    assert made["parameters"] == {"version": "1", "as_of": ""}
    worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "training", "--run-once"]
    ran = subprocess.run(worker, cwd=copy, env=env, check=False, capture_output=True, text=True)
    state = httpx.get(f"{api}/flow_runs/{made['id']}").json()["state"]["type"]
    assert state == "COMPLETED", ran.stdout + ran.stderr
    with contextlib.chdir(copy):
        assert Tracking(load_settings()).aliases() == {"trained": 1, "candidate": 1, "champion": 1}


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
