"""The model that is live, in the application as it is now; where none is live yet, one that is trained here.

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
from bike_demand.data.schema import CONDITION_COLUMNS, EXAMPLE
from bike_demand.release.checks import failures, hours
from bike_demand.serving.onnx_model import load_model
from bike_demand.settings import load_settings
from bike_demand.tracking import HANDOFF_ARTIFACT, Tracking
from tests.conftest import ENVIRONMENT, ROOT
from tests.registry import put_live
from tests.service import Service, running


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-off of that model."""
    with contextlib.chdir(ROOT):
        tracking = Tracking(load_settings())
        champion = tracking.champion()
        if champion is not None:
            return tracking.fetch(champion.run_id, HANDOFF_ARTIFACT, tmp_path_factory.mktemp("live"))
    trained: Path = request.getfixturevalue("handoff")
    return trained


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


def ask(service: Service, body: Any) -> Any:
    response = service.client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_model_passes_every_check_of_a_deployment(service: Service, model: Path) -> None:
    assert failures(str(service.client.base_url), load_model(model, "1")) == []


def test_the_service_is_ready_with_that_model(service: Service, model: Path) -> None:
    assert service.client.get("/ready").status_code == 200
    about = service.client.get("/model").json()
    assert (about["version"], about["digest"]) == ("1", load_model(model).digest)
    assert ask(service, EXAMPLE)["model_version"] == "1"


def test_the_batch_command_gives_the_answers_of_the_service(service: Service, copy: Path) -> None:
    rows = hours("2012-06-13") + hours("2012-06-16", humidity=None)
    with (copy / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, CONDITION_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    assert main(["predict", "rows.csv", "predictions.csv"]) == 0
    with (copy / "predictions.csv").open(encoding="utf-8", newline="") as file:
        batch = [each | {"prediction": float(each["prediction"])} for each in csv.DictReader(file)]
    answers = ask(service, rows)
    assert batch == [{key: each[key] for key in batch[0]} for each in answers]
