"""The loop as a process: cycle after cycle until it is stopped, whatever fails meanwhile."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bike_demand.core.errors import UserError
from bike_demand.loop import cycle
from bike_demand.store import event_log
from bike_demand.store.database import open_database
from tests.conftest import ENVIRONMENT, ROOT, Run
from tests.feedmaker import write_feed
from tests.project_copy import change_params
from tests.test_loop import live_project, live_template  # noqa: F401 (fixtures)

PATIENCE_SECONDS = 60


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.usefixtures("live_project")
def test_failed_cycle_is_reported_and_next_cycle_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change_params(Path(), seconds="0.01")
    cycles: list[int] = []

    def run_stub(*_: object) -> None:
        cycles.append(len(cycles))
        if len(cycles) == 1:
            raise UserError("the registry does not answer")
        if len(cycles) == 2:
            raise ZeroDivisionError("a mistake in this code")
        if len(cycles) == 4:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(cycle, "run_cycle", run_stub)
    before = signal.getsignal(signal.SIGTERM)
    cycle.run_forever(print)
    out, err = capsys.readouterr()
    assert cycles == [0, 1, 2, 3]
    assert err.startswith("error: the registry does not answer\nTraceback ")
    assert err.rstrip().endswith("ZeroDivisionError: a mistake in this code")
    assert out == "The loop has stopped.\n"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.usefixtures("live_project")
def test_waits_for_the_interval_and_stops_on_sigint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change_params(Path(), seconds="3600")
    ran = threading.Event()
    monkeypatch.setattr(cycle, "run_cycle", lambda *_: ran.set())

    def tell_to_end() -> None:
        ran.wait(PATIENCE_SECONDS)
        time.sleep(0.5)  # until the main thread waits: a signal in the instant before is not noticed
        if sys.platform == "win32":
            signal.raise_signal(signal.SIGINT)
        else:
            os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=tell_to_end)
    other.start()
    cycle.run_forever(print)
    other.join()


def test_as_of_requires_once(run: Run, project: Path) -> None:
    assert project
    assert "--as-of needs --once" in run("agent", "--as-of", "2011-03-01").refusal()


@pytest.mark.slow
def test_process_alerts_failure_and_recovery(
    live_project: Path,  # noqa: F811
) -> None:
    change_params(live_project, seconds="0.5", api='""')
    command = [sys.executable, "-m", "bike_demand", "agent"]
    env = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    with subprocess.Popen(
        command, cwd=live_project, env=env | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as process:
        output: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: output.extend(process.stdout or []))
        reader.start()
        try:
            (live_project / "feed" / "2011-02.csv").unlink()
            until(lambda: any('"title": "Data quality: ingestion"' in line for line in output))
            write_feed(live_project / "feed")
            until(lambda: any("Resolved: data-quality, ingestion." in line for line in output))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
            reader.join()
    assert output[-1] == "The loop has stopped.\n"
    alerts = [json.loads(line)["alert"]["title"] for line in output if line.startswith('{"alert"')]
    assert alerts.count("Data quality: ingestion") == 1
    with closing(open_database(f"sqlite:///{live_project / 'state' / 'production.db'}")) as database:
        (incident,) = [each for each in event_log.incidents(database) if each.subject == "ingestion"]
    assert incident.ended_at is not None
