"""kill -9 of any process of the loop: it resumes, releases nothing twice, and loses no outcome."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest

from bike_demand.core.current import INPUT_COLUMNS, Row, RowId, identity_fields, row_id
from bike_demand.core.settings import load_settings
from bike_demand.data.table import read_month_file
from bike_demand.store import event_log, queries
from bike_demand.store.database import Database, open_database
from bike_demand.store.event_log import BEGUN, DONE
from bike_demand.store.tracking import Tracking
from bike_demand.training import steps
from tests.conftest import ENVIRONMENT, ROOT, Run
from tests.feedmaker import HEADER, MONTHS, month_lines, write_month
from tests.ingested import rows_of
from tests.killed_cycle import KILL_POINTS, again
from tests.project_copy import change_params, commit
from tests.service import free_port
from tests.test_loop import (  # noqa: F401 (fixtures)
    BEGAN,
    live_history,
    live_project,
    live_template,
    rollbacks,
    run_cycle,
    set_error_signal,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 here")
PATIENCE_SECONDS = 120


@posix
@pytest.mark.slow
@pytest.mark.parametrize("point", KILL_POINTS)
def test_killed_cycle_is_resumed_without_duplicates(
    live_project: Path,  # noqa: F811
    run: Run,
    set_error_signal: Callable[[bool], None],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    command = [sys.executable, "-m", "tests.killed_cycle", point, BEGAN]
    done = subprocess.run(command, cwd=live_project, env=environment(), check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done
    set_error_signal(True)
    monkeypatch.setattr(steps, "run", again)
    for _ in range(2):
        run_cycle(run, BEGAN)
    tracking = Tracking(load_settings())
    assert tracking.aliases() == {"champion": 1, "challenger": 2}
    assert [each.number for each in tracking.versions()] == [1, 2]
    with closing(open_database(f"sqlite:///{live_project / 'state' / 'production.db'}")) as database:
        assert [(each.state, each.version) for each in event_log.trainings(database)] == [(DONE, 2)]
        assert live_history(database) == [1]
        assert len(event_log.incidents(database)) == len(event_log.open_signals(database)) == 1
        (alert,) = event_log.alerts(database)
    assert None not in alert.delivered.values()
    assert alert.id in (live_project / "state" / "alerts.log").read_text(encoding="utf-8")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    return kept | {"PYTHONPATH": str(ROOT)} | more


# ---- a short life


GROWS = "2011-03-01"


class Life:
    """The processes of a project: an MLflow server, the application, and a monitoring cycle each day.

    The days are started through as users and the operator do; `rng` say what is killed when.
    """

    def __init__(self, project: Path, servers: Path, seed: int) -> None:
        self.project, self.servers = project, servers
        self.rng = random.Random(seed)
        self.ports = {"mlflow": free_port(), "service": free_port()}
        self.running: dict[str, psutil.Popen] = {}
        self.acknowledged: dict[RowId, float] = {}
        self.killed: list[str] = []
        self.uri = f"http://127.0.0.1:{self.ports['mlflow']}"
        self.env = environment(
            MLFLOW_TRACKING_URI=self.uri,
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            MLFLOW_DISABLE_TELEMETRY="true",
        )

    def start(self, name: str) -> None:
        """Start a process, and wait until it answers."""
        port = str(self.ports[name])
        if name == "mlflow":
            database = (self.servers / "server.db").as_posix()
            command = ["mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
            command += ["--backend-store-uri", f"sqlite:///{database}"]
            command += ["--artifacts-destination", str(self.servers / "files")]
        else:
            command = ["bike_demand", "serve", "--port", port]
        with (self.servers / f"{name}.log").open("ab") as log:
            self.running[name] = psutil.Popen(
                [sys.executable, "-m", *command],
                cwd=self.servers if name == "mlflow" else self.project,
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        path = "/health" if name == "mlflow" else "/live"
        until = time.monotonic() + PATIENCE_SECONDS
        while not answers(f"http://127.0.0.1:{port}{path}"):
            assert time.monotonic() < until, (self.servers / f"{name}.log").read_text(encoding="utf-8")
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """kill -9, of the process and what it started."""
        process = self.running.pop(name)
        everyone = [*process.children(recursive=True), process]
        for each in everyone:
            each.kill()
        psutil.wait_procs(everyone, timeout=20)

    def run_cycle(self, day: datetime, victim: str | None) -> None:
        """Run the cycle of a day and kill the victim meanwhile; repeat the cycle until one completes."""
        for _ in range(5):
            command = [sys.executable, "-m", "bike_demand", "agent", "--once", "--as-of", f"{day:%Y-%m-%d}"]
            with (self.servers / "agent.log").open("ab") as log:
                process = psutil.Popen(command, cwd=self.project, env=self.env, stdout=log, stderr=log)
            self.running["agent"] = process
            if victim is not None:
                with contextlib.suppress(psutil.TimeoutExpired):
                    process.wait(self.rng.uniform(1, 12))
                if victim != "agent" or process.is_running():
                    self.killed.append(victim)
                    self.kill(victim)
                if victim != "agent":
                    self.start(victim)
                victim = None
            if process.wait(PATIENCE_SECONDS) == 0:
                return
        raise AssertionError((self.servers / "agent.log").read_text(encoding="utf-8")[-3000:])

    def send(self, rows: list[Row]) -> None:
        """Users request each row of a day, and post the outcomes in the evening."""
        with httpx.Client(base_url=f"http://127.0.0.1:{self.ports['service']}", trust_env=False) as client:
            for row in rows:
                body = row.model_dump(mode="json", include=set(INPUT_COLUMNS))
                assert client.post("/predict", json=body, timeout=20).status_code == 200
            reported = [identity_fields(row) | {"amount": row.amount} for row in rows]
            assert client.post("/outcomes", json=reported, timeout=20).status_code == 200
        self.acknowledged |= {row_id(row): row.amount for row in rows}

    def end(self) -> None:
        for name in list(self.running):
            with contextlib.suppress(psutil.NoSuchProcess):
                self.kill(name)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def grown(folder: Path) -> list[Row]:
    """A feed whose labels are nearly doubled from one day on; its rows."""
    rows: list[Row] = []
    for month in MONTHS:
        lines = []
        for line in month_lines(month):
            cells = line.split(",")
            if cells[0] >= GROWS:
                cells[-3:-1] = [str(round(int(each) * 1.8)) for each in cells[-3:-1]]
                cells[-1] = str(sum(map(int, cells[-3:-1])))
            lines.append(",".join(cells))
        write_month(folder / f"{month}.csv", lines)
        text = "".join(f"{line}\n" for line in (HEADER, *lines))
        rows += rows_of(read_month_file(text.encode(), month, month))
    return rows


@pytest.fixture
def life(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    servers = tmp_path / "servers"
    servers.mkdir()
    change_params(copy, automatic="true")
    commit(copy)
    started = Life(copy, servers, seed=20110301)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", started.uri)
    try:
        yield started
    finally:
        started.end()


@posix
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_random_kills_of_all_processes(life: Life) -> None:
    rows = grown(life.project / "feed")
    life.start("mlflow")
    life.run_cycle(datetime(2011, 2, 22), None)  # trains and releases the first model
    life.start("service")
    day, end = datetime(2011, 2, 22), datetime(2011, 3, 16)
    while day < end:
        victim = life.rng.choices([None, "agent", "service", "mlflow"], [4, 4, 2, 2])[0]
        if day > datetime(2011, 2, 22):
            life.run_cycle(day, victim)
        wait_until_ready(life)
        life.send([row for row in rows if day <= row.begins < day + timedelta(days=1)])
        if life.rng.random() < 0.2:
            life.killed.append("service")
            life.kill("service")
            life.start("service")
        day += timedelta(days=1)
    life.run_cycle(end, None)
    print("killed:", life.killed)
    assert set(life.killed) == {"agent", "service", "mlflow"}
    with closing(open_database(f"sqlite:///{life.project / 'state' / 'production.db'}")) as database:
        check(life, database)


def wait_until_ready(life: Life) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not answers(f"http://127.0.0.1:{life.ports['service']}/ready"):
        assert time.monotonic() < until
        time.sleep(0.1)


def check(life: Life, database: Database) -> None:
    lost = [row for row, label in life.acknowledged.items() if queries.find_label(database, row) != label]
    assert lost == []
    live = live_history(database)
    back = [bad for bad, _ in rollbacks(database)]
    print("live:", live, "rolled back:", back)
    released = [number for at, number in enumerate(live) if at == 0 or live[at - 1] not in back]
    assert len(released) == len(set(released))
    assert len(live) > 1, "it did not go on"
    trainings = event_log.trainings(database)
    print("trainings:", [(each.at, each.state, each.version, each.detail) for each in trainings])
    assert not [each for each in trainings if each.state == BEGUN]
    versions = Tracking(load_settings()).versions()
    assert len({each.digest for each in versions}) == len(versions)
    assert [each.version for each in trainings if each.version] == [each.number for each in versions]
    undelivered = [each for each in event_log.alerts(database, 1000) if None in each.delivered.values()]
    assert undelivered == []
    quiet = timedelta(days=load_settings().loop.alerts.quiet_days)
    reported: dict[str, datetime] = {}
    for each in sorted(event_log.alerts(database, 1000), key=lambda each: each.at):
        assert each.key not in reported or each.at - reported[each.key] >= quiet
        reported[each.key] = each.at
