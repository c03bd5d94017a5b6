"""Commands that only show deployments: reconciled first; as stored while the registry is away."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from bike_demand.__main__ import main
from bike_demand.core.settings import load_settings
from bike_demand.store.database import open_database
from bike_demand.store.deployments import all_deployments
from bike_demand.store.tables import State
from bike_demand.store.tracking import Tracking
from tests.conftest import Make, Run
from tests.predictions import log, model_with_error, rows_between
from tests.registry import current_deployment, deploy_without_gates, register
from tests.tiny import constant

AWAY = "http://127.0.0.1:9"  # the port that discards: nobody listens there


def two_deployed() -> None:
    assert main(["ingest"]) == 0
    for number in (1, 2):
        register(constant(Path(str(number)), float(number)))
        deploy_without_gates(number)


@pytest.fixture
def predicted(prepare: Callable[[Make], None]) -> str:
    """Version 2 is live, and gave a prediction: its id."""
    prepare(two_deployed)
    (id_, *_) = log(
        rows_between("2011-03-01", "2011-03-02"),
        (2, model_with_error(10.0)),
        deployments=(current_deployment(2).id, ""),
    )
    return id_


@pytest.fixture
def registry_is_away(predicted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert predicted
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)


def test_out_of_band_change_is_adopted_and_reported_with_the_result(predicted: str, run: Run) -> None:
    Tracking(load_settings()).set_alias("champion", 1)
    output = run("trace", predicted, "--json")
    assert output.status == 0
    assert "out of band" in output.err
    deployment = json.loads(output.out)["deployment"]
    assert (deployment["version"], deployment["state"]) == (2, "retired")
    with closing(open_database(load_settings().environments.production.database)) as database:
        assert [row.state for row in all_deployments(database)] == [State.RETIRED, State.RETIRED, State.LIVE]


@pytest.mark.usefixtures("registry_is_away")
def test_trace_works_without_registry(predicted: str, run: Run) -> None:
    output = run("trace", predicted, "--json")
    assert output.status == 0
    (warning,) = output.err.splitlines()
    assert warning.startswith("warning: shown as stored")
    assert AWAY in warning
    found = json.loads(output.out)
    assert (found["prediction"]["id"], found["deployment"]["state"]) == (predicted, "live")
    assert [found[name] for name in ("model", "code", "data")] == [None] * 3
    assert yaml.safe_load(run("trace", predicted).out) == found
    assert "is down" in run("trace", predicted, "--rows").err.splitlines()[-1]


@pytest.mark.usefixtures("registry_is_away")
def test_ab_status_works_without_registry(run: Run) -> None:
    output = run("ab", "status")
    assert output.status == 0
    assert output.out.startswith("warning: shown as stored")
    assert "No test is running" in output.out
