"""The integration test of a version: sends HTTP requests, like users, to a running service that serves it."""

import contextlib
import csv
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from bike_demand.batch import predict_file
from bike_demand.core.current import INPUT_COLUMNS, MAX_PREDICTION, MIN_PREDICTION, OUTCOME_EXAMPLE, PROBLEM
from bike_demand.serving.onnx_model import OnnxModel

TIMEOUT_SECONDS = 30

CLIENT, OPERATIONS = "client", "operations"  # roles of keys
KEY_FOR = {"/model": OPERATIONS, "/metrics": OPERATIONS}  # other routes need the client's

Send = Callable[..., tuple[int, Any]]


def failures(address: str, model: OnnxModel, keys: Mapping[str, str]) -> list[str]:
    """What the first failing check finds at the service at that address, in sentences; empty: it may go live.

    `keys`: the keys of client and operator, for the routes in KEY_FOR. Raises OSError if the service stops
    responding, and ValueError, LookupError or TypeError if a response has another form.
    """
    with client(address, keys) as send:
        return next(filter(None, (list(check(send, model)) for check in CHECKS)), [])


def is_ready(send: Send, model: OnnxModel) -> Iterator[str]:
    """The application reports ready, with this model."""
    status, about = send("GET", "/model")
    expected = (model.version, model.digest)
    if send("GET", "/ready")[0] != 200 or status != 200 or (about["version"], about["digest"]) != expected:
        yield "the application does not become ready with this model"


def documented_examples_work(send: Send, _: OnnxModel) -> Iterator[str]:
    """The documented examples work."""
    body = send("GET", "/openapi.json")[1]["paths"]["/predict"]["post"]["requestBody"]
    for name, example in body["content"]["application/json"]["examples"].items():
        if send("POST", "/predict", example["value"])[0] != 200:
            yield f"the documented example '{name}' gets no prediction"


def passes_behavioral_tests(send: Send, _: OnnxModel) -> Iterator[str]:
    """Predictions are in range, and the problem's behavioral tests pass."""
    for test in PROBLEM.behavior_tests:
        rows = list(test.rows())
        status, predicted = send("POST", "/predict", rows)
        if status != 200:
            yield f"{test.sentence} These rows get status {status}"
            continue
        numbers = _numbers(predicted)
        if wrong := [each for each in numbers if not MIN_PREDICTION <= each <= MAX_PREDICTION]:
            yield f"{test.sentence} {wrong[0]} {PROBLEM.unit} is outside the prediction range"
        elif test.find_failure is not None and (failure := test.find_failure(numbers)):
            yield f"{test.sentence} {failure}"


def batch_matches_service(send: Send, model: OnnxModel) -> Iterator[str]:
    """Batch scoring and the service give the same predictions."""
    rows = [PROBLEM.example, *PROBLEM.more_examples.values()]
    with TemporaryDirectory() as name:
        source, target = Path(name) / "rows.csv", Path(name) / "predictions.csv"
        pd.DataFrame(rows, columns=list(INPUT_COLUMNS), dtype=object).to_csv(source, index=False)
        predict_file(model, source, target)
        with target.open(encoding="utf-8", newline="") as scored:
            batch = [float(line["prediction"]) for line in csv.DictReader(scored)]
    if batch != _numbers(send("POST", "/predict", rows)[1]):
        yield "batch and service give different predictions"


def predictions_are_traceable(send: Send, model: OnnxModel) -> Iterator[str]:
    """Each response has an id of its own, and the version."""
    answers = send("POST", "/predict", [PROBLEM.example, *PROBLEM.more_examples.values()])[1]
    if len({each["id"] for each in answers}) != len(answers):
        yield "two predictions have the same id"
    if {each["model_version"] for each in answers} != {model.version}:
        yield f"not all predictions are of version {model.version}"


def accepts_outcomes(send: Send, _: OnnxModel) -> Iterator[str]:
    """Outcomes are accepted, also when sent again."""
    for _again in range(2):
        status, answer = send("POST", "/outcomes", [OUTCOME_EXAMPLE])
        if status != 200:
            yield f"an outcome gets status {status}: {answer}"
            return


def rejects_bad_input(send: Send, _: OnnxModel) -> Iterator[str]:
    """Bad input is rejected, and the field named."""
    for name in INPUT_COLUMNS:
        status, answer = send("POST", "/predict", {**PROBLEM.example, name: ["wrong"]})
        if status != 422 or answer["detail"][0]["loc"][:2] != ["body", name]:
            yield f"an invalid {name} is not rejected with the field named"


CHECKS = (
    is_ready,
    documented_examples_work,
    passes_behavioral_tests,
    batch_matches_service,
    predictions_are_traceable,
    accepts_outcomes,
    rejects_bad_input,
)


def _numbers(answers: list[dict[str, Any]]) -> list[float]:
    return [each["prediction"] for each in answers]


@contextlib.contextmanager
def client(address: str, keys: Mapping[str, str]) -> Iterator[Send]:
    """Sends requests to a service over one connection, never through a proxy."""
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=TIMEOUT_SECONDS)

    def send(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        key = keys.get(KEY_FOR.get(path, CLIENT))
        headers = {} if key is None else {"X-API-Key": key}
        connection.request(
            method, parts.path.rstrip("/") + path, None if body is None else json.dumps(body), headers
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    with contextlib.closing(connection):
        yield send
