"""The loop after versions, runs or the registry were deleted."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from bike_demand.core.settings import load_settings
from bike_demand.release import deploy as delivery
from bike_demand.store import event_log
from bike_demand.store.database import Database
from bike_demand.store.deployments import open_deployments
from bike_demand.store.tables import State
from bike_demand.store.tracking import Tracking
from tests.conftest import Run
from tests.registry import register, remove_alias
from tests.test_loop import database, live_project, live_template, log_constant, run_cycle  # noqa: F401 (fixtures)
from tests.test_lost_deployments import STORE, delete_run, delete_version, join


@pytest.fixture
def tracking(live_project: Path) -> Tracking:  # noqa: F811
    """Version 2 was promoted over version 1, and both predicted since."""
    assert live_project
    store = Tracking(load_settings())
    register(Path("model"))
    delivery.deploy(load_settings(), "2", datetime(2011, 3, 1), print, gates=())
    with open_deployments(load_settings(), datetime(2011, 3, 1), print) as found:
        row = found.testing()
        assert row is not None
        found.transition(row, State.LIVE, "it is better")
    log_constant(2, 20.0, "2011-03-01", "2011-03-03")
    return store


@pytest.mark.slow
def test_a_deleted_champion_is_replaced_by_the_last_good_one(
    tracking: Tracking,
    run: Run,
    database: Database,  # noqa: F811
) -> None:
    run_cycle(run, "2011-03-02")
    delete_version(2)
    assert run("monitor").status == 0
    run_cycle(run, "2011-03-03")
    assert tracking.aliases()["champion"] == 1
    (alert,) = event_log.alerts(database)
    assert alert.key.startswith("no-model:production:")
    assert "version 2" in alert.body["summary"]
    run_cycle(run, "2011-03-04")
    assert json.loads(run("monitor", "--json").out)["releases"][-1]["version"] == 1


@pytest.mark.slow
def test_new_version_is_trained_if_the_last_good_one_cannot_be_loaded(tracking: Tracking, run: Run) -> None:
    run_cycle(run, "2011-03-02")
    (model,) = Path("state").glob(f"artifacts/*/{tracking.version(1).run_id}/artifacts/handoff/model.onnx")
    model.write_bytes(b"half")
    delete_version(2)
    run_cycle(run, "2011-03-03")
    assert tracking.aliases() == {"champion": 3}


@pytest.mark.slow
def test_new_version_is_trained_after_all_were_deleted(tracking: Tracking, run: Run) -> None:
    run_cycle(run, "2011-03-02")
    delete_version(2)
    delete_version(1)
    run_cycle(run, "2011-03-03")
    assert tracking.aliases() == {"champion": 3}


@pytest.mark.slow
def test_loop_continues_without_the_run_of_the_champion(tracking: Tracking, run: Run) -> None:
    delete_run(tracking.version(2).run_id)
    run_cycle(run, "2011-03-02")
    assert run("monitor").status == 0
    assert run("rollback", "--reason", "its run is gone").status == 0
    run_cycle(run, "2011-03-12")
    assert tracking.aliases() == {"champion": 1}


@pytest.mark.slow
def test_deletion_of_a_version_is_recorded_in_its_training(
    tracking: Tracking,
    run: Run,
    database: Database,  # noqa: F811
) -> None:
    remove_alias(tracking, "previous")
    assert run("retrain", "--reason", "a test", "--force", "--as-of", "2011-03-03").status == 0
    delete_version(3)
    run_cycle(run, "2011-03-04")
    (training,) = event_log.trainings(database)
    assert "deleted" in training.detail["result"]


@pytest.mark.slow
def test_a_damaged_registry_fails_the_cycle_with_an_alert_until_it_is_moved_away(
    tracking: Tracking,
    run: Run,
    database: Database,  # noqa: F811
) -> None:
    STORE.write_bytes(b"no database" * 1000)
    output = run("agent", "--once", "--as-of", "2011-03-03")
    assert output.status == 1
    assert str(STORE.absolute()) in output.err.splitlines()[-1]
    (alert,) = event_log.alerts(database)
    assert str(STORE.absolute()) in alert.body["summary"]
    assert run("monitor").status == 1
    STORE.unlink()
    assert "does not belong to" in run("agent", "--once", "--as-of", "2011-03-04").err
    assert len(event_log.alerts(database)) == 2  # of another cause
    register(Path("model"))
    join()
    run_cycle(run, "2011-03-04")
    assert tracking.aliases() == {"champion": tracking.versions()[-1].number}
