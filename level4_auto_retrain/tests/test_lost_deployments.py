"""Lost versions and runs are named, and the next command recovers; a lost store needs a person."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bike_demand.core.settings import load_settings
from bike_demand.release import deploy as delivery
from bike_demand.store.database import open_database
from bike_demand.store.deployments import DATABASE_TAG, all_deployments
from bike_demand.store.tables import State
from bike_demand.store.tracking import MODEL_NAME, Tracking
from tests.conftest import Run
from tests.predictions import log, model_with_error, rows_between
from tests.registry import current_deployment, deploy_without_gates, register, remove_alias
from tests.test_rollback import live_template, tracking  # noqa: F401 (fixtures)
from tests.tiny import constant

STORE = Path("state", "mlflow.db")


def mlflow_client() -> Any:
    uri = Tracking(load_settings()).uri  # silences MLflow's log, so it comes before the import
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def join() -> None:
    """Join registry and database on purpose, as the message says."""
    with closing(open_database(load_settings().environments.production.database)) as database:
        rows = all_deployments(database)
    if rows:
        mlflow_client().set_registered_model_tag(MODEL_NAME, DATABASE_TAG, rows[-1].id)
    else:
        mlflow_client().delete_registered_model_tag(MODEL_NAME, DATABASE_TAG)


def delete_version(number: int) -> None:
    """As somebody does it in MLflow's pages; aliases go with it."""
    mlflow_client().delete_model_version(MODEL_NAME, str(number))


def delete_run(run_id: str) -> None:
    """Delete a run for good, as MLflow's garbage collection does."""
    client = mlflow_client()
    shutil.rmtree(client.get_run(run_id).info.artifact_uri.removeprefix("file://"), ignore_errors=True)
    client.delete_run(run_id)
    with closing(sqlite3.connect(STORE)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for table in ("tags", "metrics", "params", "latest_metrics", "runs"):
            connection.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run_id,))


@pytest.fixture
def releases(tracking: Tracking, run: Run) -> Tracking:  # noqa: F811
    """Three versions went live one after the other: 1, 2, 3."""
    assert run("ingest").status == 0
    return tracking


def deploy(number: int) -> None:
    """Deploy a version without gates."""
    delivery.deploy(load_settings(), str(number), datetime(2011, 4, 6), print, gates=())


@pytest.mark.slow
def test_after_the_champion_was_deleted_another_version_can_be_deployed(
    releases: Tracking,
    run: Run,
) -> None:
    delete_version(3)
    assert "warning: the alias champion was removed out of band" in run("ab", "status").out
    assert "warning" not in run("ab", "step").out  # adopted, and reported once
    assert "version 3" in run("deploy", "3").refusal()
    assert "deploy" in run("rollback").refusal()
    assert "deploy" in run("release", "champion", "--check").refusal()
    assert run("ab", "status").status == 0
    assert run("ab", "step").status == 0
    deploy(2)
    assert releases.aliases()["champion"] == 2
    assert run("rollback").status == 0
    assert releases.aliases() == {"champion": 1}


def test_a_rollback_goes_past_versions_that_were_deleted(releases: Tracking, run: Run) -> None:
    delete_version(2)
    assert run("rollback").status == 0
    assert releases.aliases() == {"champion": 1}


@pytest.mark.slow
def test_a_rollback_goes_past_versions_whose_model_was_deleted(
    releases: Tracking,
    run: Run,
) -> None:
    delete_run(releases.version(2).run_id)
    assert run("rollback").status == 0
    assert releases.aliases() == {"champion": 1}


@pytest.mark.slow
def test_where_all_earlier_versions_were_deleted_a_rollback_changes_nothing(
    releases: Tracking,
    run: Run,
) -> None:
    delete_version(1)
    delete_run(releases.version(2).run_id)
    assert "deleted" in run("rollback").refusal()
    assert releases.aliases()["champion"] == 3
    assert current_deployment(3).state is State.LIVE


def test_a_version_whose_run_was_deleted_is_refused_and_what_is_live_stays(
    releases: Tracking,
    run: Run,
) -> None:
    number = register(constant(Path("new"), 9.0)).number
    run_id = releases.version(number).run_id
    delete_run(run_id)
    output = run("deploy", number)
    assert output.status == 1
    assert run_id in output.err
    assert output.err.count("\n") == 1
    assert releases.aliases()["champion"] == 3


@pytest.mark.slow
def test_without_the_database_what_is_live_counts_as_deployed_out_of_band(
    releases: Tracking,
    run: Run,
) -> None:
    Path("state", "production.db").unlink()
    assert "does not belong to" in run("ab", "step").refusal()
    join()
    assert "warning: the alias champion was set to version 3 out of band" in run("ab", "step").out
    assert "no earlier champion" in run("rollback").refusal()
    assert releases.aliases()["champion"] == 3
    number = register(constant(Path("new"), 9.0)).number
    deploy(number)
    assert releases.aliases() == {"champion": 3, "challenger": number}


def test_version_live_again_counts_from_the_day_the_last_one_left(releases: Tracking, run: Run) -> None:
    log(rows_between("2011-03-01", "2011-03-02")[:1], (1, model_with_error(10.0)))
    remove_alias(releases, "champion")
    assert run("ab", "step", "--as-of", "2011-04-06").status == 0
    releases.set_alias("champion", 1)
    assert run("ab", "step", "--as-of", "2011-04-08").status == 0
    assert current_deployment(1).changed_at == datetime(2011, 4, 6)


@pytest.mark.slow
def test_without_the_database_a_running_test_goes_on(releases: Tracking, run: Run) -> None:
    number = register(constant(Path("new"), 9.0)).number
    deploy_without_gates(number, State.TESTING, at=datetime(2011, 4, 6))
    assert releases.aliases() == {"champion": 3, "challenger": number, "previous": 2}
    Path("state", "production.db").unlink()
    assert run("ab", "status").status == 0
    join()
    assert run("ab", "step", "--as-of", "2011-04-06").status == 0
    # Nothing is known to roll back to, so the watch of the champion ends.
    assert releases.aliases() == {"champion": 3, "challenger": number}
    assert [current_deployment(each).state for each in (3, number)] == [State.LIVE, State.TESTING]


def test_a_prediction_of_a_deleted_version_names_it(releases: Tracking, run: Run) -> None:
    (known,) = log(rows_between("2011-03-01", "2011-03-02")[:1], (3, model_with_error(10.0)))
    run_id = releases.version(3).run_id
    delete_run(run_id)
    assert run_id in run("trace", known).refusal()
    delete_version(3)
    output = run("trace", known)
    assert output.status == 1
    assert output.err.splitlines()[-1].startswith("error: version 3")


@pytest.mark.slow
@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(STORE.unlink, id="deleted"),
        pytest.param(lambda: STORE.write_bytes(b""), id="emptied", marks=pytest.mark.slow),
    ],
)
def test_without_the_registry_the_next_version_goes_live(
    releases: Tracking,
    run: Run,
    lose: Callable[[], object],
) -> None:
    lost = current_deployment(1)
    models = ((1, model_with_error(10.0)),)
    (known,) = log(rows_between("2011-03-01", "2011-03-02")[:1], *models, deployments=(lost.id, ""))
    lose()
    assert run("ab", "status").status == 0
    for argv in (("ab", "step"), ("deploy", "latest"), ("rollback",)):
        assert "does not belong to" in run(*argv).refusal()
    register(constant(Path("new"), 9.0))
    join()
    assert run("ab", "step").status == 0
    assert lost.run_id in run("trace", known).refusal()  # not the new version of that number
    deploy(1)
    assert releases.aliases() == {"champion": 1}


@pytest.mark.usefixtures("releases")
def test_a_damaged_registry_is_named_by_each_command_and_left_as_it_is(run: Run) -> None:
    (known,) = log(rows_between("2011-03-01", "2011-03-02")[:1], (3, model_with_error(10.0)))
    STORE.write_bytes(b"no database" * 1000)
    for argv in (("deploy", "latest"), ("rollback",), ("ab", "step"), ("trace", known)):
        output = run(*argv)
        assert output.status == 1, argv
        assert str(STORE.absolute()) in output.err.splitlines()[-1], argv
        assert "Traceback" not in output.err
    shown = run("ab", "status")  # what is stored can still be looked at
    assert shown.status == 0
    assert str(STORE.absolute()) in next(line for line in shown.out.splitlines() if "warning: " in line)
    assert STORE.read_bytes() == b"no database" * 1000


def test_a_rollback_needs_no_ingested_data(tracking: Tracking, run: Run) -> None:  # noqa: F811
    assert not Path("state", "data").exists()
    assert run("rollback").status == 0
    assert tracking.aliases() == {"champion": 2}
