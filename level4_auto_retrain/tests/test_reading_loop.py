"""The loop's commands that only report: after reconciliation; without the registry, from the stored state."""

import json
from collections.abc import Callable
from contextlib import closing

import pytest

from bike_demand.core.settings import load_settings
from bike_demand.store.database import open_database
from bike_demand.store.deployments import all_deployments
from bike_demand.store.tables import State
from bike_demand.store.tracking import Tracking
from tests.conftest import Make, Run
from tests.test_read_only_commands import two_deployed

COMMANDS = [("monitor", "--json"), ("incidents", "--json")]


@pytest.fixture(autouse=True)
def live(prepare: Callable[[Make], None]) -> None:
    """Version 2 is live."""
    prepare(two_deployed)


@pytest.mark.parametrize("command", COMMANDS)
def test_out_of_band_change_is_adopted_and_reported_on_stderr(command: tuple[str, ...], run: Run) -> None:
    Tracking(load_settings()).set_alias("champion", 1)
    output = run(*command)
    assert output.status == 0
    assert "out of band" in output.err
    json.loads(output.out)
    with closing(open_database(load_settings().environments.production.database)) as database:
        assert [row.state for row in all_deployments(database)] == [State.RETIRED, State.RETIRED, State.LIVE]


@pytest.mark.parametrize("command", COMMANDS)
def test_unreachable_registry_falls_back_to_stored_state(
    command: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    output = run(*command)
    assert output.status == 0
    (warning,) = output.err.splitlines()
    assert warning.startswith("warning: shown as stored")
    found = json.loads(output.out)
    assert found == [] if command[0] == "incidents" else found["releases"][-1]["version"] == 2
