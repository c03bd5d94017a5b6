"""The integration test of a model: serves it in the real application and sends HTTP requests to it."""

import contextlib
import csv
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import uvicorn

from bike_demand.batch import predict_file
from bike_demand.core.current import INPUT_COLUMNS, MAX_PREDICTION, MIN_PREDICTION, PROBLEM
from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import ModelHolder
from bike_demand.serving.onnx_model import OnnxModel, load_model

TIMEOUT_SECONDS = 30

Ask = Callable[..., tuple[int, Any]]


def failures(folder: Path) -> list[str]:
    """What the first check finds that a hand-off's model fails, in sentences; empty if it may go live.

    Raises UserError if the model cannot be loaded.
    """
    model = load_model(folder, "candidate")
    try:
        with _served(model) as ask:
            return next(filter(None, (list(check(ask, model)) for check in CHECKS)), [])
    except (OSError, http.client.HTTPException, ValueError) as error:
        return [f"the application fails on a request: {error}"]


def is_ready(ask: Ask, model: OnnxModel) -> Iterator[str]:
    """The application reports ready, with this model."""
    status, about = ask("GET", "/model")
    if ask("GET", "/ready")[0] != 200 or status != 200 or about["digest"] != model.digest:
        yield "the application does not become ready with this model"


def documented_examples_work(ask: Ask, _: OnnxModel) -> Iterator[str]:
    """The documented examples work."""
    body = ask("GET", "/openapi.json")[1]["paths"]["/predict"]["post"]["requestBody"]
    for name, example in body["content"]["application/json"]["examples"].items():
        if ask("POST", "/predict", example["value"])[0] != 200:
            yield f"the documented example '{name}' gets no prediction"


def passes_behavioral_tests(ask: Ask, _: OnnxModel) -> Iterator[str]:
    """Predictions are in range, and the problem's behavioral tests pass."""
    for test in PROBLEM.behavior_tests:
        rows = list(test.rows())
        status, predicted = ask("POST", "/predict", rows)
        if status != 200:
            yield f"{test.sentence} These rows get status {status}"
            continue
        numbers = _numbers(predicted)
        if wrong := [each for each in numbers if not MIN_PREDICTION <= each <= MAX_PREDICTION]:
            yield f"{test.sentence} {wrong[0]} {PROBLEM.unit} is outside the prediction range"
        elif test.find_failure is not None and (find_failure := test.find_failure(numbers)):
            yield f"{test.sentence} {find_failure}"


def batch_matches_service(ask: Ask, model: OnnxModel) -> Iterator[str]:
    """Batch scoring and the service give the same predictions."""
    rows = [PROBLEM.example, *PROBLEM.more_examples.values()]
    with TemporaryDirectory() as name:
        source, target = Path(name) / "rows.csv", Path(name) / "predictions.csv"
        pd.DataFrame(rows, columns=list(INPUT_COLUMNS), dtype=object).to_csv(source, index=False)
        predict_file(model, source, target)
        with target.open(encoding="utf-8", newline="") as scored:
            batch = [float(line["prediction"]) for line in csv.DictReader(scored)]
    if batch != _numbers(ask("POST", "/predict", rows)[1]):
        yield "batch and service give different predictions"


def rejects_bad_input(ask: Ask, _: OnnxModel) -> Iterator[str]:
    """Bad input is rejected, and the field named."""
    for name in INPUT_COLUMNS:
        status, answer = ask("POST", "/predict", {**PROBLEM.example, name: ["wrong"]})
        if status != 422 or answer["detail"][0]["loc"][:2] != ["body", name]:
            yield f"an invalid {name} is not rejected with the field named"


CHECKS = (
    is_ready,
    documented_examples_work,
    passes_behavioral_tests,
    batch_matches_service,
    rejects_bad_input,
)


def _numbers(answers: list[dict[str, Any]]) -> list[float]:
    return [each["prediction"] for each in answers]


@contextlib.contextmanager
def _served(model: OnnxModel) -> Iterator[Ask]:
    """Run the application with that model on a free local port; yields a function that sends requests."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        listener.listen()  # clients that connect before the server runs have to wait
        server = uvicorn.Server(uvicorn.Config(create_app(ModelHolder(model)), log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)

        def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())

        try:
            yield ask
        finally:
            connection.close()
            server.should_exit = True
            thread.join(TIMEOUT_SECONDS)
