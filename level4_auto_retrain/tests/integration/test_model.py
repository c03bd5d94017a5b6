"""The model that is live, in the application as it is now.

Run alone, it is the project's model; among all other tests, one of the toy problem that is trained here.
Before a deployment it is the application that stays and the model that changes: its gates do the same checks.
"""

import contextlib
import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bike_demand.__main__ import main
from bike_demand.core.current import INPUT_COLUMNS, PROBLEM
from bike_demand.core.settings import load_settings
from bike_demand.release.checks import failures
from bike_demand.serving.onnx_model import load_model
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Tracking
from tests import toy
from tests.conftest import ENVIRONMENT, ROOT
from tests.registry import put_live
from tests.service import Service, running


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-off of that model."""
    if PROBLEM is toy.PROBLEM:
        trained: Path = request.getfixturevalue("handoff")
        return trained
    with contextlib.chdir(ROOT):
        tracking = Tracking(load_settings())
        champion = tracking.champion()
        assert champion is not None, "no model to test: none is live yet"
        return tracking.fetch(champion.run_id, HANDOFF_ARTIFACT, tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def copy(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project of its own with that model live, so that a service in production is not disturbed."""
    folder = tmp_path_factory.mktemp("integration")
    shutil.copy(ROOT / "params.yaml", folder)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for name in ENVIRONMENT:
            patch.delenv(name, raising=False)
        put_live(model)
        yield folder


@pytest.fixture(scope="module")
def service(copy: Path) -> Iterator[Service]:
    with running(copy) as service:
        yield service


def predict(service: Service, body: Any) -> Any:
    response = service.client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_model_passes_every_check_of_a_deployment(service: Service, model: Path) -> None:
    assert failures(str(service.client.base_url), load_model(model, "1"), {}) == []


def test_the_service_is_ready_with_that_model(service: Service, model: Path) -> None:
    assert service.client.get("/ready").status_code == 200
    about = service.client.get("/model").json()
    assert (about["version"], about["digest"]) == ("1", load_model(model).digest)
    assert predict(service, PROBLEM.example)["model_version"] == "1"


def test_the_batch_command_gives_the_predictions_of_the_service(service: Service, copy: Path) -> None:
    rows = [PROBLEM.example, *PROBLEM.more_examples.values()]
    with (copy / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, INPUT_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    assert main(["predict", "rows.csv", "predictions.csv"]) == 0
    with (copy / "predictions.csv").open(encoding="utf-8", newline="") as file:
        batch = [each | {"prediction": float(each["prediction"])} for each in csv.DictReader(file)]
    answers = predict(service, rows)
    assert batch == [{key: each[key] for key in batch[0]} for each in answers]
