"""One process of the service: follows the registry, keeps the logs, and ends with whoever started it."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

from bike_demand.prediction_log import expected_ranges
from bike_demand.prediction_log.database import Database
from bike_demand.prediction_log.writer import Beat, PredictionLog
from bike_demand.serving.answers import Answers, to_rows
from bike_demand.serving.champion import Champion
from bike_demand.serving.dashboard import StatusReporter
from bike_demand.serving.fallback import Fallback
from bike_demand.serving.guard import Guard
from bike_demand.serving.lines import Lines
from bike_demand.serving.metrics import Metrics
from bike_demand.serving.outcomes import OutcomeStore
from bike_demand.serving.recorder import Recorder
from bike_demand.serving.slot import Follower, Slot
from bike_demand.settings import SERVING, Settings
from bike_demand.tracking import Tracking

SIGNS = 3  # a worker that missed so many is not running any more
NORMS_SECONDS = 1.0  # for a start to find out what is normal now


class Worker:
    """All that one process needs besides the application itself."""

    def __init__(self, settings: Settings, environment: str) -> None:
        given, place = settings.serving, settings.environments.named(environment)
        self.slot = Slot()
        self.guard = Guard(file=Path(given.keys))
        self.outcomes = OutcomeStore(place.database) if place.database else None
        self._environment = environment
        self._name = f"{socket.gethostname()}:{os.getpid()}:{time.time():.0f}"
        self.fallback = Fallback(given.fallback)
        self._lines = Lines()
        self._metrics = Metrics()
        self.status = StatusReporter(
            place.database, environment, self._metrics, settings.dashboard, SIGNS * given.poll_seconds + 1
        )
        self._log: PredictionLog[Answers] | None = None
        if place.database:
            self._log = PredictionLog(
                place.database,
                given.log.flush_seconds,
                given.log.queue,
                lambda entries: to_rows(entries, self._metrics.failed),
                worker=self._name,
                beat=self._beat,
                beat_seconds=given.poll_seconds,
                beside=self._beside,
            )
        self.recorder = Recorder(self._metrics, self._log, self._lines if given.log.requests else None)
        self._follower = Follower(
            self.slot,
            Champion(Tracking(settings), place.alias, SERVING / environment),
            given.poll_seconds,
            self._lines.say,
            self._looked,
        )

    def start(self) -> None:
        """Begin; returns once it was looked what is live, or after ten seconds without an answer."""
        end_with_parent()
        self._lines.start()
        self._follower.start()
        if self.slot.live is None:
            self._lines.say("waiting", reason=self.slot.reason())
        if self._log is not None:
            self._log.start()
            self._log.flush(0.0)
            # Else the first answers would take as it is what cannot be right.
            self.fallback.looked.wait(NORMS_SECONDS)

    def stop(self) -> None:
        """End, and write what is not written yet."""
        self._follower.stop()
        if self._log is not None:
            self._log.stop()
        if self.outcomes is not None:
            self.outcomes.close()
        self.status.close()
        self._lines.stop()

    def _looked(self, changed: bool) -> None:
        self.guard.refresh()
        self._metrics.live(self.slot.live, self.slot.problem is not None, changed)
        self.recorder.sync()

    def _beside(self, database: Database) -> None:
        self.fallback.take(expected_ranges.read(database))

    def _beat(self) -> Beat:
        live = self.slot.live
        if live is None:
            return Beat(self._environment, None, None, None)
        other = int(live.other.model.version) if live.other else None
        return Beat(self._environment, int(live.model.version), live.deployment, other)


def end_with_parent() -> None:
    """When the process that started this one is killed, end too: else it would hold the port for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
