"""One process of the service: follows the registry, writes the logs, and ends with its parent process."""

import gc
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path

from bike_demand.core.settings import SERVING, Environment, Settings
from bike_demand.serving.fallback import Fallback
from bike_demand.serving.keys import ApiKeys
from bike_demand.serving.live_models import LiveModels, ModelHolder, RegistryModels, RegistryPoller
from bike_demand.serving.logs import JsonLogs
from bike_demand.serving.metrics import Metrics
from bike_demand.serving.prediction import PredictedBatch, to_log_rows
from bike_demand.serving.status import StatusReporter
from bike_demand.serving.telemetry import Recorder
from bike_demand.store import expected_ranges
from bike_demand.store.database import Database, database_at
from bike_demand.store.tables import Worker
from bike_demand.store.tracking import Tracking
from bike_demand.store.writer import PredictionLog, remove_worker, report_worker

ENVIRONMENT = "BIKE_ENVIRONMENT"  # variable with the environment to serve
OPEN_ACCESS = "BIKE_OPEN_ACCESS"  # variable that is set if access may be open
MISSED_HEARTBEATS = 3  # missed heartbeats after which a worker does not count as running
RANGES_TIMEOUT_SECONDS = 1.0  # how long startup waits for the expected ranges

log = logging.getLogger(__name__)


class ServiceWorker:
    """Everything that one process needs besides the application itself."""

    def __init__(self, settings: Settings, environment: str) -> None:
        given = settings.serving
        place: Environment = getattr(settings.environments, environment)
        self.holder = ModelHolder()
        self.keys = ApiKeys(Path(given.keys), may_be_open=bool(os.environ.get(OPEN_ACCESS)))
        self.database = database_at(place.database)
        self._environment, self._poll_seconds = environment, given.poll_seconds
        self._name = f"{socket.gethostname()}:{os.getpid()}:{time.time():.0f}"
        self._reported: LiveModels | None = None  # as stored in the database
        self._report_at = 0.0  # when to renew it
        self.fallback = Fallback(given.fallback, settings.quality)
        self._logs = JsonLogs()
        self._metrics = Metrics()
        timeout = MISSED_HEARTBEATS * max(given.poll_seconds, given.log.flush_seconds) + 1
        self.status = StatusReporter(self.database, environment, self._metrics, settings.dashboard, timeout)
        self._predictions: PredictionLog[PredictedBatch] = PredictionLog(
            self.database,
            given.log.flush_seconds,
            given.log.queue,
            lambda batches: to_log_rows(batches, self._metrics.failed),
            self._after_flush,
        )
        self.recorder = Recorder(self._metrics, self._predictions, self._logs if given.log.requests else None)
        models = RegistryModels(Tracking(settings), place.alias, SERVING / environment)
        self._poller = RegistryPoller(self.holder, models, given.poll_seconds, self._after_poll)

    def start(self) -> None:
        """Start; returns after the first registry poll, or its time-out."""
        end_with_parent()
        self._logs.start()
        self.keys.update()  # with the logs, which report a file that is missing
        if self.keys.is_open:
            log.warning("no_keys", extra={"detail": "there are no API keys, so access is open"})
        self._poller.start()
        if self.holder.live is None:
            log.info("waiting", extra={"detail": self.holder.reason()})
        self._predictions.start()
        # Reads the expected ranges, without which implausible values would be used unchanged.
        self._predictions.flush(RANGES_TIMEOUT_SECONDS)
        gc.collect()
        gc.freeze()  # imported modules live forever
        gc.set_threshold(200_000)  # predictions queued for the log must not trigger collections

    def stop(self) -> None:
        """Stop, and write what is pending."""
        self._poller.stop()
        self._predictions.stop()
        self.database.close()
        self._logs.stop()

    def _after_poll(self, changed: bool) -> None:
        self._metrics.live(self.holder.live, self.holder.error is not None, changed)
        self.recorder.sync()

    def _after_flush(self, database: Database, last: bool) -> None:
        """Report what this process serves: when it changes, regularly, and when it stops."""
        now, live = time.monotonic(), self.holder.live
        if last:
            remove_worker(database, self._name)
        elif live is not self._reported or now >= self._report_at:
            version, deployment = (int(live.model.version), live.deployment) if live else (None, None)
            other = int(live.other.model.version) if live and live.other else None
            seen_at = datetime.now(UTC)
            report_worker(
                database, Worker(self._name, self._environment, version, deployment, other, seen_at)
            )
            self._reported, self._report_at = live, now + self._poll_seconds
        self.fallback.update_ranges(expected_ranges.read_ranges(database))


def end_with_parent() -> None:
    """End when the parent process is killed; otherwise this process would hold the port forever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGINT)  # at once: with the parent gone, draining is pointless

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
