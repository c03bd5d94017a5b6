"""The model that is to go live, asked through the running service as its users will ask it.

It is the one in state/model where there is one, otherwise one that is trained here.
"""

import contextlib
import csv
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bike_demand.__main__ import main
from bike_demand.data.schema import CONDITION_COLUMNS, EXAMPLE
from bike_demand.settings import MODEL
from tests.conftest import ROOT
from tests.service import Service, running

DAYS = {"2012-06-13": 1, "2012-06-16": 0}  # a Wednesday and a Saturday, and whether people work


@pytest.fixture(scope="module")
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own with that model, so that a service in production is not disturbed."""
    given = ROOT / MODEL
    if not given.exists() or not any(given.iterdir()):
        given = request.getfixturevalue("handoff")
    folder = tmp_path_factory.mktemp("integration")
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(given, folder / MODEL)
    return folder


@pytest.fixture(scope="module")
def service(copy: Path) -> Iterator[Service]:
    with running(copy) as service:
        yield service


def ask(service: Service, body: Any) -> Any:
    response = service.client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def hours(day: str, **changes: Any) -> list[dict[str, Any]]:
    """The 24 rows of a day, with weather as in the example but for the changes."""
    row = EXAMPLE | {"workingday": DAYS[day]} | changes
    return [row | {"timestamp": f"{day}T{hour:02}:00:00"} for hour in range(24)]


def test_the_service_is_ready_with_the_model_that_was_handed_over(service: Service, copy: Path) -> None:
    assert service.client.get("/ready").status_code == 200
    digest = hashlib.sha256((copy / MODEL / "model.onnx").read_bytes()).hexdigest()
    assert service.client.get("/model").json()["version"] == digest[:12]
    assert ask(service, EXAMPLE)["model_version"] == digest[:12]


def test_every_documented_example_is_answered(service: Service) -> None:
    body = service.client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]
    examples = body["content"]["application/json"]["examples"].values()
    assert examples
    for example in examples:
        assert ask(service, example["value"])


@pytest.mark.parametrize("day", list(DAYS))
@pytest.mark.parametrize("weather", [1, 2, 3, 4])
@pytest.mark.parametrize("temp", [-15.0, 5.0, 25.0, 40.0])
def test_predictions_are_possible_numbers(service: Service, day: str, weather: int, temp: float) -> None:
    answers = ask(service, hours(day, weather=weather, temp_c=temp, feels_like_c=temp))
    assert all(0 <= answer["prediction"] < 5000 for answer in answers)


@pytest.mark.parametrize("day", list(DAYS))
def test_fewer_bikes_are_rented_at_night_than_by_day(service: Service, day: str) -> None:
    by_hour = [answer["prediction"] for answer in ask(service, hours(day))]
    assert by_hour[3] < by_hour[13] / 2
    assert by_hour[3] < by_hour[17] / 2


def test_the_way_home_on_a_warm_clear_working_day_is_busy(service: Service) -> None:
    # A model that lost its exponential keeps the shape of a day, at a few bikes an hour.
    assert ask(service, hours("2012-06-13"))[17]["prediction"] > 30


def test_on_working_days_the_morning_is_busier_than_on_days_off(service: Service) -> None:
    morning = [ask(service, hours(day))[8]["prediction"] for day in DAYS]
    assert morning[0] > morning[1]


def test_the_batch_gives_the_same_answers(service: Service, copy: Path) -> None:
    rows = [row for day in DAYS for row in hours(day, humidity=None)]
    with (copy / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, CONDITION_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with contextlib.chdir(copy):
        assert main(["predict", "rows.csv", "predictions.csv"]) == 0
    with (copy / "predictions.csv").open(encoding="utf-8", newline="") as file:
        batch = [each | {"prediction": float(each["prediction"])} for each in csv.DictReader(file)]
    assert batch == ask(service, rows)


def test_bad_input_is_refused_by_name(service: Service) -> None:
    response = service.client.post("/predict", json=EXAMPLE | {"temp_c": "warm"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "temp_c"]
