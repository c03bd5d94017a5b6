"""What is left after `kill -9`, what happens while the database is away or full; workers follow a change."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from bike_demand.core.current import OUTCOME_EXAMPLE, RowId
from bike_demand.core.settings import load_settings
from bike_demand.store import queries
from bike_demand.store.database import Database, open_database
from bike_demand.store.tracking import Tracking
from tests.conftest import ROOT
from tests.load import loaded
from tests.postgres import running_postgres
from tests.registry import put_live, register
from tests.service import TIMEOUT_SECONDS, Service, free_port, interrupt, running
from tests.tiny import constant
from tests.toy import EXAMPLE, identity

posix = pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 here")
FLUSH_SECONDS = 0.5


class Users:
    """Two clients that post outcomes and request predictions all the time, and keep the responses."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self.acknowledged: list[RowId] = []
        self.answered: list[tuple[float, str]] = []  # when, and the id
        self.ending = False
        self._threads = [threading.Thread(target=each) for each in (self._post, self._ask)]

    def _post(self) -> None:
        number = 0
        with httpx.Client(base_url=self._url, timeout=5, trust_env=False) as client:
            while not self.ending:
                row = identity(number)
                body = [row | {"amount": 5}]
                if send(client, "/outcomes", body) is not None:
                    self.acknowledged.append((datetime.fromisoformat(row["begins"]), row["machine"]))
                number += 1

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=5, trust_env=False) as client:
            while not self.ending:
                answer = send(client, "/predict", EXAMPLE)
                if answer is not None:
                    self.answered.append((time.monotonic(), answer["id"]))

    def __enter__(self) -> "Users":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending = True
        for each in self._threads:
            each.join()


def send(client: httpx.Client, path: str, body: Any) -> Any:
    """The answer, or None where there was none."""
    try:
        response = client.post(path, json=body)
        return response.json() if response.status_code == 200 else None
    except httpx.TransportError:
        time.sleep(0.02)
        return None


@contextmanager
def log_of(project: Path) -> Iterator[Database]:
    with contextlib.closing(open_database(f"sqlite:///{project / 'state' / 'production.db'}")) as database:
        yield database


def check(project: Path, users: Users, killed_at: float) -> None:
    """Nothing acknowledged is missing, and of the log at most what the last flush would have written."""
    with log_of(project) as database:
        lost = [each for each in users.acknowledged if queries.find_label(database, each) is None]
        missing = [at for at, id_ in users.answered if queries.find_prediction(database, id_) is None]
    assert len(users.acknowledged) > 5
    assert len(users.answered) > 20
    assert lost == []
    # The writer may be in the middle of a flush, so what came in meanwhile is missing as well.
    assert all(killed_at - 2 * FLUSH_SECONDS - 1 < at <= killed_at + 0.1 for at in missing)
    assert len(missing) < len(users.answered)


@posix
def test_after_kill_9_of_the_whole_service_under_load_nothing_acknowledged_is_lost(released: Path) -> None:
    with running(released) as service, Users(service.port) as users:
        wait_until(lambda: len(users.answered) > 300 and len(users.acknowledged) > 20)
        killed_at = time.monotonic()
        service.process.kill()
        service.process.wait(TIMEOUT_SECONDS)
        users.ending = True
    check(released, users, killed_at)


@posix
@pytest.mark.slow
def test_after_kill_9_of_a_worker_under_load_the_other_goes_on_and_a_new_one_joins(released: Path) -> None:
    with running(released, "--workers", "2") as service, Users(service.port) as users:
        with log_of(released) as database:
            wait_until(lambda: len(queries.workers(database, 5)) == 2)
            before = {each.id for each in queries.workers(database, 5)}
            wait_until(lambda: len(users.answered) > 300 and len(users.acknowledged) > 20)
            killed_at = time.monotonic()
            victim = sorted(before)[0]
            os.kill(int(victim.split(":")[1]), signal.SIGKILL)
            wait_until(lambda: len({each.id for each in queries.workers(database, 4)} - before) == 1)
            count = len(users.answered)
            wait_until(lambda: len(users.answered) > count + 50)
        users.ending = True
        metrics = service.client.get("/metrics").text
    check(released, users, killed_at)
    assert 'role="champion",version="1"} 2.0' in metrics  # the dead one is not counted any more


@posix
@pytest.mark.slow
def test_after_kill_9_of_the_parent_no_worker_holds_the_port(released: Path) -> None:
    with running(released, "--workers", "2") as service:
        children = psutil.Process(service.process.pid).children(recursive=True)
        service.process.kill()
        _, left = psutil.wait_procs(children, timeout=TIMEOUT_SECONDS)
        assert left == []


@posix
@pytest.mark.slow
def test_workers_switch_within_poll_interval_and_report_it(released: Path) -> None:
    with running(released, "--workers", "2") as service, log_of(released) as database:
        wait_until(lambda: [each.version for each in queries.workers(database, 5)] == [1, 1])
        put_live(constant(released / "made", 5.0))
        wait_until(lambda: [each.version for each in queries.workers(database, 5)] == [2, 2])
        answers = {service.client.post("/predict", json=EXAMPLE).json()["model_version"] for _ in range(50)}
        assert answers == {"2"}
        wait_until(lambda: 'role="champion",version="2"} 2.0' in service.client.get("/metrics").text)
        interrupt(service.process)
        service.process.wait(TIMEOUT_SECONDS)
        assert queries.workers(database, 60) == []


@pytest.mark.slow
def test_several_workers_add_up_what_they_count(released: Path) -> None:
    with running(released, "--workers", "2") as service:
        for _ in range(20):  # a connection each, so both get some
            httpx.post(f"http://127.0.0.1:{service.port}/predict", json=[EXAMPLE] * 2, trust_env=False)
        text = service.client.get("/metrics").text
    assert 'bike_demand_predictions_total{variant="champion",version="1"} 40.0' in text


@pytest.mark.slow
def test_what_was_answered_before_the_end_is_in_the_log(released: Path) -> None:
    with running(released) as service:
        ids = [service.client.post("/predict", json=EXAMPLE).json()["id"] for _ in range(20)]
    with log_of(released) as database:
        found = [queries.find_prediction(database, each) for each in ids]
    assert all(found)
    assert {each.client for each in found if each} == {"anyone"}


@pytest.mark.slow
def test_test_environment_has_its_own_versions_database_and_model_cache(released: Path) -> None:
    tracking = Tracking(load_settings())
    version = register(constant(released / "made", 5.0), tracking=tracking)
    tracking.set_alias("candidate", version.number, {"deployment": "d"})
    with running(released, "--environment", "test") as service:
        answer = service.client.post("/predict", json=EXAMPLE).json()
    assert (answer["model_version"], answer["prediction"]) == ("2", 5.0)
    with contextlib.closing(open_database(f"sqlite:///{released / 'state' / 'test.db'}")) as database:
        logged = queries.find_prediction(database, answer["id"])
    assert logged is not None
    assert logged.deployment == "d"
    with log_of(released) as production:
        assert queries.find_prediction(production, answer["id"]) is None
    assert sorted(each.name for each in (released / "state" / "serving").iterdir()) == ["test"]


FULL = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
sys.argv = ["bike_demand", "serve", "--port", sys.argv[1]]
runpy.run_module("bike_demand", run_name="__main__")
"""


@posix
@pytest.mark.slow
def test_while_the_disk_is_full_answers_go_on_and_losses_are_counted(released: Path) -> None:
    change(released, "queue: 20000", "queue: 4000")
    change(released, "requests: true", "requests: false")
    with full_disk(released) as service:
        service.client.post("/predict", json=EXAMPLE).raise_for_status()
        wait_until(lambda: counted(service, "written") == 1)
        with loaded(service.port) as load:
            wait_until(lambda: "bike_demand_log_fails 1.0" in service.client.get("/metrics").text)
            wait_until(lambda: counted(service, "lost") > 0)
            count = len(load.answers)
            wait_until(lambda: len(load.answers) > count + 200)
            outcome = OUTCOME_EXAMPLE | {"amount": 5}
            reply = service.client.post("/outcomes", json=[outcome])
        assert load.failures == []
        service.process.terminate()
        out, _ = service.process.communicate(timeout=TIMEOUT_SECONDS)
    assert "prediction_log_error" in out
    assert "prediction_log_lost" in out
    with log_of(released) as database:  # what was written before is whole
        kept = queries.find_label(database, (datetime.fromisoformat(EXAMPLE["begins"]), EXAMPLE["machine"]))
        assert (reply.status_code, kept) in ((200, 5), (503, None))  # little may fit where much does not
        with database.reading() as connection:
            assert (
                connection.connection().exec_driver_sql("SELECT count(*) FROM predictions").scalar_one() > 0
            )


@pytest.mark.slow
def test_while_the_database_server_is_away_answers_go_on_and_what_waited_is_written(
    released: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    port, folder = free_port(), tmp_path_factory.mktemp("postgres")
    outcome = [OUTCOME_EXAMPLE | {"amount": 5}]
    with contextlib.ExitStack() as first:
        address = first.enter_context(running_postgres(folder, port))
        change(released, "sqlite:///state/production.db", address)
        with running(released) as service:
            send = partial(service.client.post, "/predict", json=EXAMPLE)
            ids = [send().json()["id"]]
            wait_until(lambda: counted(service, "written") == 1)
            first.close()
            ids += [send().raise_for_status().json()["id"] for _ in range(30)]
            assert service.client.post("/outcomes", json=outcome).status_code == 503
            with running_postgres(folder, port):
                wait_until(lambda: counted(service, "written") == 31)
                assert service.client.post("/outcomes", json=outcome).json()["new"] == 1
                with contextlib.closing(open_database(address)) as database:
                    assert all(queries.find_prediction(database, each) for each in ids)


@contextmanager
def full_disk(project: Path) -> Iterator[Service]:
    """The service of a project, in a process that may not make any file larger than 1.5 MB."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", FULL, str(port)],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            wait_until(lambda: answers(client))
            yield Service(process, client, port)
    finally:
        process.kill()
        process.communicate()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


def counted(service: Service, result: str) -> float:
    """Rows of the prediction log, by the service's own count."""
    (line,) = [
        line
        for line in service.client.get("/metrics").text.splitlines()
        if line.startswith(f'bike_demand_log_rows_total{{result="{result}"}}')
    ]
    return float(line.split()[-1])


def change(project: Path, old: str, new: str) -> None:
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert old in text
    params.write_text(text.replace(old, new), encoding="utf-8")


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + TIMEOUT_SECONDS
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)
