"""Predicts for concurrent requests in one step: a model takes hardly longer for ten rows than for one."""

import asyncio
import time
from collections.abc import Sequence
from itertools import groupby, islice
from typing import NamedTuple

from uuid_utils import uuid7

from bike_demand.core.current import Inputs
from bike_demand.serving.live_models import LiveModels
from bike_demand.serving.prediction import OnFailure, PredictedBatch, PredictedRow, predict_rows


class _Request(NamedTuple):
    live: LiveModels
    rows: Sequence[Inputs]
    predicted: asyncio.Future[list[PredictedRow]]


class Batcher:
    """Of one event loop. A request is predicted with those that arrived with it, and waits for no other.

    `failed` gets the version of a second model that fails, and for how many rows it did.
    """

    def __init__(self, failed: OnFailure) -> None:
        self._failed = failed
        self._requests: list[_Request] = []

    async def predict(self, live: LiveModels, rows: Sequence[Inputs], client: str) -> PredictedBatch:
        """The predictions for one request. Raises InvalidPredictionError."""
        at, loop = time.time(), asyncio.get_running_loop()
        if not self._requests:
            loop.call_soon(self._predict_all)  # once the loop has begun to handle all that it received
        request = _Request(live, rows, loop.create_future())
        self._requests.append(request)
        predictions, variants = zip(*await request.predicted, strict=True)
        return PredictedBatch(at, client, live, rows, [str(uuid7()) for _ in rows], predictions, variants)

    def _predict_all(self) -> None:
        requests, self._requests = self._requests, []
        for _, group in groupby(requests, key=lambda each: id(each.live)):
            together = list(group)
            try:
                _predict(together, _fail)
            except Exception:  # then each alone: no request may suffer from the rows of another one
                for each in together:
                    try:
                        _predict([each], self._failed)
                    except Exception as error:
                        each.predicted.set_exception(error)


def _predict(requests: Sequence[_Request], failed: OnFailure) -> None:
    rows = [row for each in requests for row in each.rows]
    predicted = iter(predict_rows(requests[0].live, rows, failed))
    for each in requests:
        found = list(islice(predicted, len(each.rows)))
        if not each.predicted.done():  # its request may be cancelled
            each.predicted.set_result(found)


def _fail(version: str, rows: int) -> None:
    raise RuntimeError(f"version {version} failed for one of {rows} rows")
