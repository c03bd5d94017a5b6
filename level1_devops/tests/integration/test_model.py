"""Integration tests of the model that is to go live, through the running service.

Run alone, they test the project's model, in state/model; among all other tests, one of the toy problem.
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
from bike_demand.core.current import FIELDS, INPUT_COLUMNS, MAX_PREDICTION, MIN_PREDICTION, PROBLEM
from bike_demand.core.problem import BehaviorTest
from bike_demand.core.settings import MODEL
from bike_demand.serving.request_body import MAX_ROWS
from tests import toy
from tests.conftest import ROOT
from tests.service import Service, running

EXAMPLES = [PROBLEM.example, *PROBLEM.more_examples.values()]


@pytest.fixture(scope="module")
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own with that model, so that a service in production is not disturbed."""
    given = request.getfixturevalue("handoff") if PROBLEM is toy.PROBLEM else ROOT / MODEL
    assert given.is_dir(), f"no model to test: copy a hand-off to {MODEL.as_posix()} first"
    folder = tmp_path_factory.mktemp("integration")
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(given, folder / MODEL)
    return folder


@pytest.fixture(scope="module")
def service(copy: Path) -> Iterator[Service]:
    with running(copy) as service:
        yield service


def predict(service: Service, body: Any) -> Any:
    response = service.client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_service_is_ready_with_the_model_that_was_handed_over(service: Service, copy: Path) -> None:
    assert service.client.get("/ready").status_code == 200
    digest = hashlib.sha256((copy / MODEL / "model.onnx").read_bytes()).hexdigest()
    assert service.client.get("/model").json()["version"] == digest[:12]
    assert predict(service, PROBLEM.example)["model_version"] == digest[:12]


def test_every_documented_example_is_predicted(service: Service) -> None:
    body = service.client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]
    examples = body["content"]["application/json"]["examples"].values()
    assert len(examples) >= len(EXAMPLES)
    for example in examples:
        assert predict(service, example["value"])


@pytest.mark.parametrize("test", PROBLEM.behavior_tests, ids=lambda test: test.sentence)
def test_the_model_passes_the_behavioral_test(service: Service, test: BehaviorTest) -> None:
    rows = test.rows()
    predictions = [
        each["prediction"]
        for start in range(0, len(rows), MAX_ROWS)
        for each in predict(service, rows[start : start + MAX_ROWS])
    ]
    assert all(MIN_PREDICTION <= each <= MAX_PREDICTION for each in predictions)
    if test.find_failure:
        assert test.find_failure(predictions) is None


def test_the_batch_gives_the_same_predictions(service: Service, copy: Path) -> None:
    with (copy / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, INPUT_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(EXAMPLES)
    with contextlib.chdir(copy):
        assert main(["predict", "rows.csv", "predictions.csv"]) == 0
    with (copy / "predictions.csv").open(encoding="utf-8", newline="") as file:
        batch = [each | {"prediction": float(each["prediction"])} for each in csv.DictReader(file)]
    assert batch == predict(service, EXAMPLES)


def test_a_wrong_type_is_rejected_by_name(service: Service) -> None:
    field = next(name for name, field in FIELDS.items() if field.kind == "number")
    response = service.client.post("/predict", json={**PROBLEM.example, field: "much"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", field]
