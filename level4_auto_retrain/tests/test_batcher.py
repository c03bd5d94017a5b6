"""Concurrent requests share one call of a model, and nothing else."""

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Any

from bike_demand.core.current import Inputs
from bike_demand.serving.live_models import LiveModels, SecondModel
from bike_demand.serving.prediction import Batcher, InvalidPredictionError, PredictedBatch
from tests.toy import EXAMPLE

TOO_HOT = 100.0


class Echo:
    """A model that predicts a row's heat plus its version, and no number where it is too hot."""

    def __init__(self, version: str) -> None:
        self.version, self.calls = version, 0

    def predict(self, rows: Sequence[Inputs]) -> list[float]:
        self.calls += 1
        heats = [row.heat for row in rows]
        return [math.nan if heat > TOO_HOT else heat + int(self.version) for heat in heats]


class Constant:
    """A model that always predicts 0."""

    def __init__(self, version: str) -> None:
        self.version = version

    def predict(self, rows: Sequence[Inputs]) -> list[float]:
        return [0.0] * len(rows)


def request(*heats: float) -> list[Inputs]:
    return [Inputs.model_validate_json(json.dumps(EXAMPLE | {"heat": heat})) for heat in heats]


def predict(*requests: tuple[LiveModels, list[Inputs]]) -> tuple[list[PredictedBatch | BaseException], Any]:
    """What comes of requests that arrive at the same time, and the failures of the second model."""
    failures: list[tuple[str, int]] = []

    async def run() -> list[PredictedBatch | BaseException]:
        batcher = Batcher(lambda *failure: failures.append(failure))
        given = [batcher.predict(live, rows, "somebody") for live, rows in requests]
        return await asyncio.gather(*given, return_exceptions=True)

    return asyncio.run(run()), failures


def numbers(found: PredictedBatch | BaseException) -> list[float]:
    assert isinstance(found, PredictedBatch)
    return list(found.predictions)


def test_requests_that_arrive_together_take_one_call_and_each_gets_its_own() -> None:
    model: Any = Echo("1")
    live = LiveModels(model)
    found, _ = predict((live, request(10)), (live, request(20, 30)), (live, request(40)))
    assert list(map(numbers, found)) == [[11], [21, 31], [41]]
    assert model.calls == 1
    ids = [id_ for each in found if isinstance(each, PredictedBatch) for id_ in each.ids]
    assert len(set(ids)) == 4


def test_a_row_without_a_prediction_fails_its_own_request_only() -> None:
    model: Any = Echo("1")
    live = LiveModels(model)
    found, _ = predict((live, request(10)), (live, request(20, 120)), (live, request(40)))
    assert [numbers(found[0]), numbers(found[2])] == [[11], [41]]
    assert isinstance(found[1], InvalidPredictionError)


def test_a_request_that_was_cancelled_keeps_no_other_waiting() -> None:
    model: Any = Echo("1")

    async def run() -> PredictedBatch:
        batcher = Batcher(lambda *_: None)
        live = LiveModels(model)
        cancelled = asyncio.create_task(batcher.predict(live, request(120), "somebody"))
        other = asyncio.create_task(batcher.predict(live, request(10), "somebody"))
        asyncio.get_running_loop().call_soon(cancelled.cancel)  # both are queued by then
        return await asyncio.wait_for(other, 5)

    assert numbers(asyncio.run(run())) == [11]


def test_a_row_on_which_the_challenger_fails_sends_no_other_request_to_the_champion() -> None:
    champion, challenger = Constant("1"), Echo("2")
    live = LiveModels(champion, "", SecondModel(challenger, "", "challenger", 1.0))  # type: ignore[arg-type]
    found, failures = predict((live, request(10)), (live, request(120)))
    assert list(map(numbers, found)) == [[12], [0]]
    assert failures == [("2", 1)]


def test_request_uses_models_live_on_arrival() -> None:
    models: list[Any] = [Echo("1"), Echo("2")]
    before, after = map(LiveModels, models)
    found, _ = predict((before, request(10)), (after, request(10)), (after, request(20)))
    assert list(map(numbers, found)) == [[11], [12], [22]]
    assert [each.calls for each in models] == [1, 1]
