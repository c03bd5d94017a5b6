"""The integration test of a model: this very file, in the real application, asked over HTTP as users do."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn

from bike_demand.data.schema import CONDITION_COLUMNS, EXAMPLE
from bike_demand.data.target import BUSY, ERROR_UNIT, HIGHEST, LOWEST, UNIT
from bike_demand.errors import UserError
from bike_demand.serving.app import create_app
from bike_demand.serving.batch import score
from bike_demand.serving.live_models import ModelHolder
from bike_demand.serving.onnx_model import OnnxModel, load_model

WORKING_DAY, DAY_OFF = "2012-06-13", "2012-06-16"
TIMEOUT_SECONDS = 30

Ask = Callable[..., tuple[int, Any]]


def failures(folder: Path) -> list[str]:
    """What does not work with the model of that hand-off, one sentence each; empty: it may go live."""
    try:
        model = load_model(folder, "candidate")
    except UserError as error:
        return [str(error)]
    with _served(model) as ask:
        return [said for check in CHECKS for said in check(ask, model)]


def hours(day: str, **changes: Any) -> list[dict[str, Any]]:
    """The 24 rows of a day, with weather as in the example but for the changes."""
    row = EXAMPLE | {"workingday": int(day == WORKING_DAY)} | changes
    return [row | {"timestamp": f"{day}T{hour:02}:00:00"} for hour in range(24)]


def is_ready(ask: Ask, model: OnnxModel) -> Iterator[str]:
    """The application says that it is ready, and with which model."""
    status, about = ask("GET", "/model")
    if ask("GET", "/ready")[0] != 200 or status != 200 or about["digest"] != model.digest:
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
    refuses_bad_input,
)


def _numbers(answers: list[dict[str, Any]]) -> list[float]:
    return [each["prediction"] for each in answers]


@contextlib.contextmanager
def _served(model: OnnxModel) -> Iterator[Ask]:
    """The application with that model on a free port of this machine, and how to ask it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        listener.listen()  # who connects before the server runs waits
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
