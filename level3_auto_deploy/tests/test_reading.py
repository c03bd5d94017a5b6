"""Commands that only look at deployments: reconciled first; while the registry is away, as stored."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bike_demand.__main__ import main
from bike_demand.core.settings import load_settings
from bike_demand.store.tracking import Tracking
from tests.answers import log, off_by, rows_between
from tests.conftest import Make, Run
from tests.registry import latest, placed, register
from tests.tiny import constant

AWAY = "http://127.0.0.1:9"  # the port that discards: nobody listens there


def two_deployed() -> None:
    assert main(["ingest"]) == 0
    for number in (1, 2):
        register(constant(Path(str(number)), float(number)))
        placed(number)


@pytest.fixture
def predicted(prepare: Callable[[Make], None]) -> str:
    """Version 2 is live, and gave a prediction: its id."""
    prepare(two_deployed)
    (id_, *_) = log(
        rows_between("2011-03-01", "2011-03-02"), (2, off_by(10.0)), deployments=(latest(2).id, "")
    )
    return id_


@pytest.fixture
def registry_is_away(predicted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert predicted
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)


def test_trace_adopts_what_was_changed_out_of_band_and_says_so_beside_its_result(
    predicted: str, run: Run
) -> None:
    Tracking(load_settings()).set_alias("champion", 1)
    output = run("trace", predicted, "--json")
    assert output.status == 0
    assert "out of band" in output.err
    deployment = json.loads(output.out)["deployment"]
    assert (deployment["version"], deployment["state"]) == (2, "retired")


@pytest.mark.usefixtures("registry_is_away")
def test_trace_tells_what_the_log_knows(predicted: str, run: Run) -> None:
    output = run("trace", predicted, "--json")
    assert output.status == 0
    (warning,) = output.err.splitlines()
    assert warning.startswith("warning: shown as stored")
    assert AWAY in warning
    found = json.loads(output.out)
    assert (found["prediction"]["id"], found["deployment"]["state"]) == (predicted, "live")
    assert [found[name] for name in ("model", "code", "data")] == [None] * 3
    assert "is down" in run("trace", predicted, "--rows").err.splitlines()[-1]


@pytest.mark.usefixtures("registry_is_away")
def test_ab_status_tells_what_is_stored(run: Run) -> None:
    output = run("ab", "status")
    assert output.status == 0
    assert output.out.startswith("warning: shown as stored")
    assert "No test is running" in output.out
