"""Whatever the service accepts can be read back by everything that reads its log."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, time
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from httpx import Client

from bike_demand.__main__ import main
from bike_demand.core.current import OUTCOME_EXAMPLE, Inputs
from bike_demand.core.problem import MAX_AHEAD, MIN_TIME
from bike_demand.core.settings import load_settings
from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import LiveModels, ModelHolder
from bike_demand.serving.metrics import Metrics
from bike_demand.serving.onnx_model import load_model
from bike_demand.serving.prediction import PredictedBatch, to_log_rows
from bike_demand.serving.status import StatusReporter
from bike_demand.serving.telemetry import Recorder
from bike_demand.store import queries
from bike_demand.store.database import database_at, open_database
from bike_demand.store.writer import PredictionLog
from tests.conftest import Run
from tests.registry import put_live
from tests.service import serve_in_thread
from tests.tiny import constant
from tests.toy import EXAMPLE, MAX_AMOUNT

LATEST = datetime.combine(datetime.now() + MAX_AHEAD, time())
TIMES = [MIN_TIME, datetime(2011, 3, 7), datetime(2011, 3, 31), LATEST]
PROPERTIES: dict[str, dict[str, Any]] = Inputs.model_json_schema(by_alias=False)["properties"]


def extremes(field: str) -> list[Any]:
    """The lowest and the highest value that a field accepts, and null where it does."""
    if field == "begins":
        return [moment.isoformat() for moment in TIMES]
    if PROPERTIES[field].get("type") == "boolean":
        return [False, True]
    if PROPERTIES[field].get("type") == "string":
        return ["x" * PROPERTIES[field]["minLength"], "x" * PROPERTIES[field]["maxLength"]]
    kinds = PROPERTIES[field].get("anyOf", [PROPERTIES[field]])
    (number,) = (kind for kind in kinds if "minimum" in kind)
    return [number["minimum"], number["maximum"], *([None] if {"type": "null"} in kinds else [])]


REQUESTS = [EXAMPLE | {name: value} for name in PROPERTIES for value in extremes(name)]
OUTCOMES = [
    OUTCOME_EXAMPLE | {"begins": moment.isoformat(), "amount": amount}
    for moment, amount in zip(TIMES, (0, MAX_AMOUNT, 0, MAX_AMOUNT), strict=True)
]


def until(is_so: Callable[[], bool]) -> None:
    end = monotonic() + 20
    while not is_so():
        assert monotonic() < end
        sleep(0.02)


@pytest.fixture
def client(stored: Path) -> Iterator[Client]:
    """A service of a project in which version 1 is live; its log is complete once it has ended."""
    assert main(["ingest"]) == 0
    put_live(constant(stored / "model", 50.0))
    database, metrics = database_at(load_settings().environments.production.database), Metrics()
    holder = ModelHolder()
    holder.live = LiveModels(load_model(stored / "model", "1"), "")
    log: PredictionLog[PredictedBatch] = PredictionLog(
        database, 0.01, 10_000, lambda entries: to_log_rows(entries, metrics.failed)
    )
    log.start()
    status = StatusReporter(database, "production", metrics, load_settings().dashboard, 1e9)
    app = create_app(holder, recorder=Recorder(metrics, log), database=database, status=status)
    with serve_in_thread(app) as client:
        yield client
    log.stop()


def test_extreme_requests_are_accepted_and_readable(client: Client, run: Run) -> None:
    ids = []
    for request in REQUESTS:
        response = client.post("/predict", json=request)
        assert response.status_code == 200, request
        ids.append(response.json()["id"])
    assert client.post("/outcomes", json=OUTCOMES).status_code == 200
    address = load_settings().environments.production.database
    with closing(open_database(address)) as database:
        until(lambda: all(queries.find_prediction(database, each) for each in ids))
    for day in ("2011-03-08", "2011-04-01"):
        for command in (["monitor", "--json"], ["agent", "--once"], ["ab", "status"]):
            output = run(*command, "--as-of", day)
            assert output.status == 0, (command, output.err)
    for moment in (MIN_TIME, LATEST):
        assert run("monitor", "--as-of", moment.isoformat()).status == 0
    for each in ids:
        assert run("trace", each).status == 0
    assert run("incidents").status == 0
    assert client.get("/status").status_code == 200
    rows = "".join(
        ",".join("" if value is None else str(value) for value in request.values()) + "\n"
        for request in REQUESTS
    )
    Path("rows.csv").write_text(",".join(EXAMPLE) + "\n" + rows, encoding="utf-8", newline="\n")
    assert run("predict", "rows.csv", "predictions.csv").status == 0
    assert len(Path("predictions.csv").read_text(encoding="utf-8").splitlines()) == len(REQUESTS) + 1


@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00",
        pytest.param("1970-01-01T00:00:00", marks=pytest.mark.slow),
        pytest.param("9999-12-31T00:00:00", marks=pytest.mark.slow),
    ],
)
def test_implausible_date_is_rejected_and_the_loop_continues(client: Client, run: Run, moment: str) -> None:
    (problem,) = client.post("/predict", json=EXAMPLE | {"begins": moment}).json()["detail"]
    assert problem["loc"] == ["body", "begins"]
    (problem,) = client.post("/outcomes", json=[OUTCOME_EXAMPLE | {"begins": moment}]).json()["detail"]
    assert problem["loc"] == ["body", 0, "begins"]
    assert run("monitor").status == 0
    assert "--as-of" in run("monitor", "--as-of", moment).refusal()


def test_out_of_range_values_are_rejected(client: Client) -> None:
    for field in PROPERTIES.keys() - {"begins"}:
        low, high = extremes(field)[:2]
        beyond = (low[1:], high + "x") if isinstance(low, str) else (low - 1, high + 1, "1_000")
        for value in (*beyond, 1e999, 10**400):
            body = json.dumps(EXAMPLE | {field: value}).replace("Infinity", "1e999")
            response = client.post("/predict", content=body)
            assert response.status_code == 422, (field, value)
            assert field in response.json()["detail"][0]["loc"]
