"""Flow runs of a story are waited for, and what fails among them is reported; the server is a stub."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest

from ladder import UserError, flows, runbook
from ladder.service import Service

FLOWS = runbook.Flows(
    page="Prefect",
    env={"PREFECT_API_URL": "http://127.0.0.1:{port}/api"},
    prepare=(),
    worker='python -c "import time; time.sleep(600)"',
    daily="monitoring-cycle/loop",
    event_count_pattern=r"^signals emitted: (\d+)",
)
DAY = date(2012, 1, 9)


def run(name: str, state: str, message: str, **more: Any) -> dict[str, Any]:
    state_of = {"type": state, "name": state.title(), "message": message}
    return {"id": f"id-of-{name}", "name": name, "state": state_of, "total_run_time": 2.0} | {
        "auto_scheduled": False,
        **more,
    }


class Busy(NamedTuple):
    """How a busy server responds: after how long, and with which status."""

    seconds: float
    status: int


@contextmanager
def server(folder: Path, runs: list[dict[str, Any]], busy: Sequence[Busy] = ()) -> Iterator[flows.FlowServer]:
    """A server that has these runs; it responds like this at first."""
    first = iter(busy)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"id": "1"})

        def do_POST(self) -> None:
            wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("flow_runs/filter"):
                listed = "parent_task_run_id" in wanted["flow_runs"]
                self.answer(runs if listed else [])
            else:
                self.answer([])

        def answer(self, body: Any) -> None:
            content = json.dumps(body).encode()
            seconds, status = next(first, Busy(0, 200))
            time.sleep(seconds)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Not on the terminal of the tests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as stub:
        Thread(target=stub.serve_forever, daemon=True).start()
        page = Service(folder, folder / "prefect.log", stub.server_port)
        with flows.FlowServer(FLOWS, page, folder) as made:
            made.start()
            yield made
        stub.shutdown()


def test_a_day_is_over_once_the_runs_that_its_events_started_have_ended(tmp_path: Path) -> None:
    scheduled = run("next", "SCHEDULED", "", auto_scheduled=True)
    runs = [run("monitoring-cycle", "COMPLETED", "signals emitted: 1"), run("act", "RUNNING", ""), scheduled]
    with server(tmp_path, runs) as made:
        ended = made.run(DAY)
        first = next(ended)
        assert (first.name, first.seconds, first.failures) == ("monitoring-cycle", 2.0, ())
        runs[1] |= run("act", "COMPLETED", "Nothing.")
        assert [each.name for each in ended] == ["act"]


def test_a_flow_run_that_failed_is_one_line_with_its_address(tmp_path: Path) -> None:
    message = "Flow run encountered an exception: UserError: the feed is gone"
    with server(tmp_path, [run("monitoring-cycle", "FAILED", message)]) as made:
        (ended,) = made.run(DAY)
    (failure,) = ended.failures
    assert failure.startswith("monitoring-cycle failed: UserError: the feed is gone (http://127.0.0.1:")
    assert failure.endswith("/runs/flow-run/id-of-monitoring-cycle)")


def test_a_run_that_no_automation_began_is_reported_instead_of_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "AUTOMATION_SECONDS", 1)
    with server(tmp_path, [run("monitoring-cycle", "COMPLETED", "signals emitted: 2")]) as made:
        _, missing = made.run(DAY)
    assert "2 event-triggered runs" in missing.failures[0]


def test_a_server_that_is_busy_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "TIMEOUT_SECONDS", 0.5)
    busy = [Busy(1, 200), Busy(0, 503), Busy(0, 200), Busy(1, 200)]
    with server(tmp_path, [run("monitoring-cycle", "COMPLETED", "")], busy) as made:
        (ended,) = made.run(DAY)
    assert ended.failures == ()


def test_a_server_that_is_gone_is_one_line_with_its_log(tmp_path: Path) -> None:
    gone = Service(tmp_path, tmp_path / "prefect.log")
    with (
        flows.FlowServer(FLOWS, gone, tmp_path) as made,
        pytest.raises(UserError, match=r"does not respond.*prefect\.log"),
    ):
        next(made.run(DAY))
