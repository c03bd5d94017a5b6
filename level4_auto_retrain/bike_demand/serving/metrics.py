"""The service's Prometheus metrics: the only module that imports prometheus_client."""

import math
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from bike_demand.serving.live_models import LiveModels
from bike_demand.store.outcomes import Stored
from bike_demand.store.writer import Counts

CONTENT_TYPE = CONTENT_TYPE_LATEST
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where worker processes share their metrics
PREFIX = "bike_demand_"
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)  # seconds


@dataclass(frozen=True)
class RequestStatistics:
    """Requests to a route since the service started, over all processes.

    `rejected` are 4xx, `failed` 5xx. `buckets`: cumulative number of requests by upper bound in seconds
    (None: infinity). `rows`: predictions by the version that was shown. `instance`: the service that counted
    them, which differs from poll to poll where several share an address.
    """

    requests: int
    rejected: int
    failed: int
    buckets: list[tuple[float | None, int]]
    rows: dict[str, int]
    instance: str = ""


class Metrics:
    """The metrics of one process; `text` aggregates those of all workers."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(PREFIX + name, help_, labels, registry=registry)

        def gauge(name: str, help_: str, *labels: str) -> Gauge:
            return Gauge(PREFIX + name, help_, labels, registry=registry, multiprocess_mode="livesum")

        self._requests = counter("requests", "Requests by route and status.", "route", "status")
        self._seconds = Histogram(
            f"{PREFIX}request_seconds", "Duration of requests.", ["route"], registry=registry, buckets=BUCKETS
        )
        self._predictions = counter(
            "predictions", "Rows by the version that predicted.", "version", "variant"
        )
        self._failures = counter("model_failures", "Rows for which the second model failed.", "version")
        self._replaced = counter("inputs_replaced", "Implausible input values that were replaced.", "field")
        self._outcomes = counter(
            "outcomes", "Outcomes by whether they are new, unchanged or revised.", "result"
        )
        self._log = counter("log_rows", "Rows of the prediction log, written or lost.", "result")
        self._lines = counter("log_lines_lost", "Log lines that were dropped.")
        self._queued = gauge("log_queued", "Rows queued for the prediction log.")
        self._log_fails = gauge("log_fails", "Processes that cannot write to the prediction log.")
        self._workers = gauge(
            "workers", "Processes by the version that they serve.", "version", "role", "deployment"
        )
        self._poll_failing = gauge("following_fails", "Workers whose last registry poll failed.")
        self._swaps = counter("model_changes", "Changes of the live models.")
        self._logged = Counts(0, 0, 0)
        self._lines_lost = 0
        self._shown: list[tuple[str, str, str]] = []
        for result in ("written", "lost"):  # so that the series exist, at 0, before anything goes wrong
            self._log.labels(result)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        _labelled(self._requests, route, status).inc()
        _labelled(self._seconds, route).observe(seconds)

    def predictions(self, version: str, variant: str, rows: int) -> None:
        """Count predicted rows."""
        _labelled(self._predictions, version, variant).inc(rows)

    def failed(self, version: str, rows: int) -> None:
        """Count rows for which the second model failed."""
        self._failures.labels(version).inc(rows)

    def count_replaced(self, fields: Sequence[str]) -> None:
        """Count values that were replaced."""
        for field in fields:
            self._replaced.labels(field).inc()

    def outcomes(self, stored: Stored) -> None:
        """Count outcomes."""
        for result, number in vars(stored).items():
            self._outcomes.labels(result).inc(number)

    def log(self, counts: Counts, fails: bool, lines_lost: int) -> None:
        """Update the state of the prediction log and of the service's log."""
        before, self._logged = self._logged, counts
        self._log.labels("written").inc(counts.written - before.written)
        self._log.labels("lost").inc(counts.lost - before.lost)
        self._queued.set(counts.queued)
        self._log_fails.set(int(fails))
        self._lines.inc(lines_lost - self._lines_lost)
        self._lines_lost = lines_lost

    def live(self, live: LiveModels | None, failing: bool, changed: bool) -> None:
        """Update the live models."""
        self._poll_failing.set(int(failing))
        if not changed:
            return
        self._swaps.inc()
        for labels in self._shown:
            self._workers.labels(*labels).set(0)
        self._shown = [] if live is None else [(live.model.version, "champion", live.deployment)]
        if live is not None and live.other is not None:
            self._shown.append((live.other.model.version, live.other.role, live.other.deployment))
        for labels in self._shown:
            self._workers.labels(*labels).set(1)

    def text(self) -> bytes:
        """All metrics, in the format of Prometheus."""
        return generate_latest(self._all_processes())

    def traffic(self, route: str) -> RequestStatistics:
        """The traffic of a route, from the counters and the histogram."""
        statuses: dict[str, int] = {}
        rows: dict[str, int] = {}
        buckets: list[tuple[float | None, int]] = []
        for family in self._all_processes().collect():
            for name, labels, value, *_ in family.samples:
                if name == f"{PREFIX}requests_total" and labels["route"] == route:
                    group = labels["status"][0]
                    statuses[group] = statuses.get(group, 0) + int(value)
                elif name == f"{PREFIX}request_seconds_bucket" and labels["route"] == route:
                    bound = float(labels["le"])
                    buckets.append((None if math.isinf(bound) else bound, int(value)))
                elif name == f"{PREFIX}predictions_total":
                    rows[labels["version"]] = rows.get(labels["version"], 0) + int(value)
        buckets.sort(key=lambda each: math.inf if each[0] is None else each[0])
        instance = f"{socket.gethostname()}:{Path(os.environ.get(METRICS_FOLDER, str(os.getpid()))).name}"
        return RequestStatistics(
            sum(statuses.values()), statuses.get("4", 0), statuses.get("5", 0), buckets, rows, instance
        )

    def _all_processes(self) -> CollectorRegistry:
        folder = os.environ.get(METRICS_FOLDER)
        if folder is None:
            return self._registry
        _forget_dead(Path(folder))
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
        return together


@cache  # looking up labels takes longer than counting
def _labelled(metric: Any, *labels: str | int) -> Any:
    return metric.labels(*labels)


def _forget_dead(folder: Path) -> None:
    """Remove killed processes from the gauges of live processes; their counters are kept."""
    if os.name != "posix":  # Windows has no harmless signal to probe a process with
        return
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass
