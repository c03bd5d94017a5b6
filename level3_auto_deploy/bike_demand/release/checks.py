"""The integration test of a model: this very version, in a running service, asked over HTTP as users do."""

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from bike_demand.data.schema import CONDITION_COLUMNS, EXAMPLE
from bike_demand.data.target import BUSY, ERROR_UNIT, HIGHEST, LOWEST, UNIT
from bike_demand.serving.batch import score
from bike_demand.serving.onnx_model import OnnxModel

WORKING_DAY, DAY_OFF = "2012-06-13", "2012-06-16"
TIMEOUT_SECONDS = 30

CLIENT, OPERATIONS = "client", "operations"  # whose key it is
KEY_FOR = {"/model": OPERATIONS, "/metrics": OPERATIONS}  # else the client's
NO_KEYS: Mapping[str, str] = {}

Ask = Callable[..., tuple[int, Any]]


def failures(address: str, model: OnnxModel, keys: Mapping[str, str] = NO_KEYS) -> list[str]:
    """What does not work in the service there, which answers with that model; empty: it may go live.

    One sentence each. `keys`: the client's and, for /model, the operator's, as KEY_FOR names them. Raises
    OSError where the service goes away.
    """
    with client(address, keys) as ask:
        return [said for check in CHECKS for said in check(ask, model)]


def hours(day: str, **changes: Any) -> list[dict[str, Any]]:
    """The 24 rows of a day, with weather as in the example but for the changes."""
    row = EXAMPLE | {"workingday": int(day == WORKING_DAY)} | changes
    return [row | {"timestamp": f"{day}T{hour:02}:00:00"} for hour in range(24)]


def is_ready(ask: Ask, model: OnnxModel) -> Iterator[str]:
    """The application says that it is ready, and with which model."""
    status, about = ask("GET", "/model")
    expected = (model.version, model.digest)
    if ask("GET", "/ready")[0] != 200 or status != 200 or (about["version"], about["digest"]) != expected:
        yield "the application does not become ready with it"


def answers_documented_examples(ask: Ask, _: OnnxModel) -> Iterator[str]:
    """What the documentation shows works."""
    body = ask("GET", "/openapi.json")[1]["paths"]["/predict"]["post"]["requestBody"]
    for name, example in body["content"]["application/json"]["examples"].items():
        if ask("POST", "/predict", example["value"])[0] != 200:
            yield f"the documented example '{name}' is not answered"


def answers_possible_numbers(ask: Ask, _: OnnxModel) -> Iterator[str]:
    """In any weather, the humidity known or not."""
    for day in (WORKING_DAY, DAY_OFF):
        for weather in (1, 2, 3, 4):
            for temp in (-15.0, 5.0, 25.0, 40.0):
                for humidity in (0.55, None):
                    rows = hours(day, weather=weather, temp_c=temp, feels_like_c=temp, humidity=humidity)
                    status, answers = ask("POST", "/predict", rows)
                    if status != 200:
                        yield f"{day}, weather {weather}, {temp:g} degrees: answered with status {status}"
                    elif wrong := [each for each in _numbers(answers) if not LOWEST <= each <= HIGHEST]:
                        yield f"{day}, weather {weather}, {temp:g} degrees: {wrong[0]} {ERROR_UNIT}"


def knows_night_from_day(ask: Ask, _: OnnxModel) -> Iterator[str]:
    """Less at 3 h than at 13 h and 17 h. More it does not ask: habits change."""
    for day in (WORKING_DAY, DAY_OFF):
        status, answers = ask("POST", "/predict", hours(day))
        by_hour = _numbers(answers) if status == 200 else [0.0] * 24
        if not by_hour[3] < min(by_hour[13], by_hour[17]) / 2:
            yield f"{day}: {by_hour[3]} {UNIT} at 3 h, {by_hour[13]} at 13 h and {by_hour[17]} at 17 h"


def knows_a_busy_hour(ask: Ask, _: OnnxModel) -> Iterator[str]:
    """A model that lost its exponential keeps the shape of a day, at low answers."""
    status, answers = ask("POST", "/predict", hours(WORKING_DAY))
    if status != 200 or not _numbers(answers)[17] > BUSY:
        yield f"{WORKING_DAY}, warm and clear: hardly anybody rides home at 17 h"


def batch_answers_the_same(ask: Ask, model: OnnxModel) -> Iterator[str]:
    """The batch command gives what the service gives."""
    rows = hours(WORKING_DAY, humidity=None)
    lines = [
        ",".join(str(row[name] if row[name] is not None else "") for name in CONDITION_COLUMNS)
        for row in rows
    ]
    with TemporaryDirectory() as name:
        source, target = Path(name) / "rows.csv", Path(name) / "predictions.csv"
        text = "".join(f"{line}\n" for line in (",".join(CONDITION_COLUMNS), *lines))
        source.write_text(text, encoding="utf-8", newline="\n")
        score(model, source, target)
        batch = [float(line.split(",")[1]) for line in target.read_text(encoding="utf-8").splitlines()[1:]]
    if batch != _numbers(ask("POST", "/predict", rows)[1]):
        yield "the batch and the service answer differently"


def answers_say_where_they_come_from(ask: Ask, model: OnnxModel) -> Iterator[str]:
    """Each has an id of its own, and the version."""
    answers = ask("POST", "/predict", hours(WORKING_DAY))[1]
    if len({each["id"] for each in answers}) != len(answers):
        yield "two answers have the same id"
    if {each["model_version"] for each in answers} != {model.version}:
        yield f"not all answers are of version {model.version}"


def takes_outcomes(ask: Ask, _: OnnxModel) -> Iterator[str]:
    """What happened in an hour is taken, and taken once more."""
    for _again in range(2):
        status, answer = ask("POST", "/outcomes", [{"timestamp": f"{WORKING_DAY}T17:00:00", "count": 500}])
        if status != 200:
            yield f"an outcome is answered with status {status}: {answer}"
            return


def refuses_bad_input(ask: Ask, _: OnnxModel) -> Iterator[str]:
    """And names the field."""
    status, answer = ask("POST", "/predict", EXAMPLE | {"temp_c": "warm"})
    if status != 422 or answer["detail"][0]["loc"] != ["body", "temp_c"]:
        yield "a wrong temperature is not refused by name"


CHECKS = (
    is_ready,
    answers_documented_examples,
    answers_possible_numbers,
    knows_night_from_day,
    knows_a_busy_hour,
    batch_answers_the_same,
    answers_say_where_they_come_from,
    takes_outcomes,
    refuses_bad_input,
)


def _numbers(answers: list[dict[str, Any]]) -> list[float]:
    return [each["prediction"] for each in answers]


@contextlib.contextmanager
def client(address: str, keys: Mapping[str, str]) -> Iterator[Ask]:
    """Sends requests to the service at an http address: one connection, never through a proxy."""
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=TIMEOUT_SECONDS)

    def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        key = keys.get(KEY_FOR.get(path, CLIENT))
        headers = {} if key is None else {"X-API-Key": key}
        connection.request(
            method, parts.path.rstrip("/") + path, None if body is None else json.dumps(body), headers
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    with contextlib.closing(connection):
        yield ask
