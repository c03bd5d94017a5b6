"""Records requests and predictions off the request path: prediction log, metrics and JSON log."""

import threading
import time
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bike_demand.serving.keys import CLIENT
from bike_demand.serving.logs import JsonLogs
from bike_demand.serving.metrics import Metrics
from bike_demand.serving.prediction import PredictedBatch
from bike_demand.store.writer import PredictionLog

IDS = "bike_demand.ids"  # key of the ids of a request's predictions in its scope
FLUSH_SECONDS = 1.0  # at most


class Recorder:
    """Records requests and predictions in up to three destinations: log, metrics, JSON log.

    Only `flush` waits for a disk or a database.
    """

    def __init__(
        self,
        metrics: Metrics | None = None,
        predictions: PredictionLog[PredictedBatch] | None = None,
        logs: JsonLogs | None = None,
    ) -> None:
        self.metrics = metrics or Metrics()
        self._predictions, self._logs = predictions, logs
        self._syncing = threading.Lock()

    def predicted(self, batch: PredictedBatch) -> None:
        """Record the predictions for a request."""
        if self._predictions is not None:
            self._predictions.add(batch, len(batch.rows))
        live = batch.live
        for who in set(batch.variants):
            model = live.other.model if who == "challenger" and live.other else live.model
            self.metrics.predictions(model.version, who, batch.variants.count(who))

    def request(self, route: str, status: int, seconds: float, client: str, ids: Sequence[str]) -> None:
        """Record a request, whether it succeeded or not."""
        self.metrics.request(route, status, seconds)
        if self._logs is not None:
            ms = round(1e3 * seconds, 3)
            fields = {"route": route, "status": status, "ms": ms, "client": client, "ids": ids}
            self._logs.info("request", fields)

    @property
    def error(self) -> str | None:
        """Why predictions cannot be logged at the moment; None if they can."""
        return None if self._predictions is None else self._predictions.error

    def flush(self) -> None:
        """Write the predictions so far to the log; waits a second at most."""
        if self._predictions is not None:
            self._predictions.flush(FLUSH_SECONDS)

    def sync(self) -> None:
        """Update the metrics from the logs. Thread-safe."""
        if self._predictions is not None:
            with self._syncing:  # counters may only increase
                lost = self._logs.lost if self._logs else 0
                self.metrics.log(self._predictions.counts(), self.error is not None, lost)


class Telemetry:
    """ASGI middleware that records every request. Starlette's base class would take three times as long."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self._app, self._recorder = app, recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.perf_counter()
        status = 500

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting_status)
        finally:
            # Unknown paths share one label, because clients can invent any number of them.
            route = getattr(scope.get("route"), "path", "other")
            seconds = time.perf_counter() - began
            self._recorder.request(route, status, seconds, scope.get(CLIENT, ""), scope.get(IDS, ()))
