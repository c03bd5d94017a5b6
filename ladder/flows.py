"""Runs a level's loop on its Prefect server: a worker executes the flows, and story days wait for them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import tenacity

from ladder import UserError, runbook
from ladder.service import Service
from ladder.steps import environment, resolve_command, run_command

POLL_SECONDS = 0.5
# Wall time, from the event that a flow emits to the run that an automation makes of it. A run itself may take
# as long as it takes. A writer of Prefect's SQLite database may wait for another one for a minute.
AUTOMATION_SECONDS = 180
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
TIMEOUT_SECONDS, BUSY_SECONDS = 30, 180  # for a response, and until a busy server is given up


@dataclass(frozen=True)
class FlowRun:
    """A finished flow run, the error if it failed, and the address of its page."""

    name: str
    seconds: float
    failures: tuple[str, ...]


class FlowServer:
    """A level's Prefect server with the flows of the project in `folder`, and a worker that runs them.

    A context manager: on the way out the worker is stopped.
    """

    def __init__(self, flows: runbook.Flows, server: Service, folder: Path) -> None:
        self._flows, self._server, self._folder = flows, server, folder
        self._env = environment() | runbook.fill_env(flows.env, folder, server.port)
        self._worker = Service(
            folder,
            folder / "state" / "worker.log",
            env=self._env,
            command=resolve_command(flows.worker),
            probe=None,
        )
        self._client = httpx.Client(base_url=f"{server.url}/api", timeout=TIMEOUT_SECONDS, trust_env=False)

    def start(self) -> None:
        """Deploy the flows and start the worker. Raises UserError if a command fails."""
        for command in self._flows.prepare:
            run_command(command, self._folder, self._env)
        self._worker.start()

    def run(self, day: date) -> Iterator[FlowRun]:
        """Run the daily flow as of that day; yields it, and each run that its events start, when finished.

        Raises UserError if the server or the worker ends.
        """
        began = datetime.now(UTC)
        try:
            daily = self._asked("GET", f"deployments/name/{self._flows.daily}")
            wanted = {"idempotency_key": str(day), "parameters": {"as_of": f"{day}T00:00:00"}}
            self._asked("POST", f"deployments/{daily['id']}/create_flow_run", wanted)
            yield from self._ended(began)
        except httpx.HTTPError as error:
            raise UserError(f"Prefect's server does not respond ({error}): see {self._server.log}") from None

    def _ended(self, began: datetime) -> Iterator[FlowRun]:
        ended: set[str] = set()
        expected, latest = 1, monotonic()
        while len(ended) < expected and monotonic() - latest < AUTOMATION_SECONDS:
            runs = self._runs(began)
            for each in runs:
                if each["id"] in ended or each["state"]["type"] not in ENDED:
                    continue
                ended.add(each["id"])
                if sent := re.search(self._flows.event_count_pattern, each["state"]["message"] or ""):
                    expected += int(sent[1])
                yield self._run(each)
            if len(ended) < len(runs):
                latest = monotonic()
            if not self._worker.is_running():
                raise UserError(f"the Prefect worker exited: see {self._worker.log}")
            sleep(POLL_SECONDS)
        if missing := expected - len(ended):
            failure = f"{missing} event-triggered runs did not start: see {self._server.log}"
            yield FlowRun("automations", 0.0, (failure,))

    def _runs(self, began: datetime) -> list[dict[str, Any]]:
        """The runs since then that are neither part of another one nor of a schedule."""
        wanted = {
            "flow_runs": {
                "expected_start_time": {"after_": began.isoformat()},
                "parent_task_run_id": {"is_null_": True},
            },
            "sort": "EXPECTED_START_TIME_ASC",
        }
        return [each for each in self._found(wanted) if not each["auto_scheduled"]]

    def _run(self, run: dict[str, Any]) -> FlowRun:
        parts = self._found({"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}})
        failures = [
            f"{each['name']} {each['state']['name'].lower()}: {_reason(each)}"
            f" ({self._server.url}/runs/flow-run/{each['id']})"
            for each in (run, *parts)
            if each["state"]["type"] != "COMPLETED"
        ]
        return FlowRun(run["name"], run["total_run_time"], tuple(failures))

    def _found(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._asked("POST", "flow_runs/filter", wanted)
        return listed

    @tenacity.retry(
        # As while its database or the machine is busy; a run that was created has an idempotency key.
        retry=tenacity.retry_if_exception_type((httpx.HTTPStatusError, httpx.TimeoutException)),
        stop=tenacity.stop_after_delay(BUSY_SECONDS),
        wait=tenacity.wait_fixed(POLL_SECONDS),
        reraise=True,
    )
    def _asked(self, method: str, path: str, body: Any = None) -> Any:
        return self._client.request(method, path, json=body).raise_for_status().json()

    def __enter__(self) -> "FlowServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.stop()
        self._client.close()


def _reason(run: dict[str, Any]) -> str:
    """The exception message of a failed run."""
    message = run["state"]["message"] or "no reason given"
    return str(message.removeprefix("Flow run encountered an exception: "))
