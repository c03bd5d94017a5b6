"""The loop on a real Prefect server: signals become events whose automation starts the response."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from bike_demand.core.settings import load_settings
from bike_demand.store import event_log
from bike_demand.store.database import lock, open_database
from bike_demand.store.event_log import DONE
from bike_demand.store.tracking import Tracking
from tests.conftest import ENVIRONMENT, ROOT
from tests.prefect_server import prefect_server
from tests.project_copy import change_params, commit

PATIENCE_SECONDS = 120
RUN_MONITORING_CYCLE = "from bike_demand.flows import monitoring_cycle; monitoring_cycle()"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_signal_starts_its_response_even_after_kill_9_of_the_server(copy: Path, tmp_path: Path) -> None:
    change_params(copy, automatic="true")
    commit(copy)
    shutil.copy(ROOT / "prefect.yaml", copy)
    with prefect_server(tmp_path / "prefect") as server:
        prefect(copy, server.api, "work-pool", "create", "--type", "process", "training")
        prefect(copy, server.api, "--no-prompt", "deploy", "--all")
        # Nothing is live: that is what it sees, in a flow that is started by hand instead of by its schedule.
        address = f"sqlite:///{copy / 'state' / 'production.db'}"
        with closing(open_database(address)) as database, lock(database, "deployment"):  # it does not wait
            done = python(copy, server.api, "-c", RUN_MONITORING_CYCLE)
        assert done.returncode == 0, done.stderr
        (made,) = runs(server.api, "respond", 1)
        assert made["parameters"] == {"signal": "1", "description": "no-model, production", "as_of": ""}
        server.kill()
        server.start()
        worked = prefect(copy, server.api, "worker", "start", "--pool", "training", "--run-once")
        state = httpx.get(f"{server.api}/flow_runs/{made['id']}").json()["state"]["type"]
        assert state == "COMPLETED", worked.stdout + worked.stderr
        # The same again: a champion is there now, and nothing follows.
        assert python(copy, server.api, "-c", RUN_MONITORING_CYCLE).returncode == 0
        assert python(copy, server.api, "-m", "bike_demand", "agent").returncode == 1
        assert len(runs(server.api, "respond", 1)) == 1
    with contextlib.chdir(copy):
        assert Tracking(load_settings()).aliases() == {"trained": 1, "candidate": 1, "champion": 1}
    with closing(open_database(address)) as database:
        assert [(each.state, each.version) for each in event_log.trainings(database)] == [(DONE, 1)]
        assert [each.title for each in event_log.alerts(database)] == ["No model: production"]
        assert event_log.open_signals(database) == []


def python(folder: Path, api: str, *command: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    home = {"PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "state" / "prefect")}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=env | home, capture_output=True, text=True, check=False
    )


def prefect(folder: Path, api: str, *command: str) -> subprocess.CompletedProcess[str]:
    done = python(folder, api, "-m", "prefect", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def runs(api: str, flow: str, at_least: int) -> list[dict[str, Any]]:
    """The runs of a flow, once there are so many."""
    until = time.monotonic() + PATIENCE_SECONDS
    wanted = {"flows": {"name": {"any_": [flow]}}}
    while True:
        found: list[dict[str, Any]] = httpx.post(f"{api}/flow_runs/filter", json=wanted).json()
        if len(found) >= at_least:
            return found
        assert time.monotonic() < until, f"no run of the flow {flow} was made"
        time.sleep(0.5)
