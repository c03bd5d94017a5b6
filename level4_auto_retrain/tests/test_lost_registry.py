"""Something that a training counts on is gone: what was lost is named, and the next training leads out."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bike_demand.core.settings import Settings, load_settings
from bike_demand.store.tracking import MODEL_NAME, Tracking
from bike_demand.training import steps
from tests.conftest import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Where trainings are deployed by themselves, that is not what is looked at here.
TRAIN = ("train", "--no-deploy") if "deploy" in Settings.model_fields else ("train",)
STORE = Path("state/mlflow.db")


def client() -> "MlflowClient":
    # Imported late: MLflow reads its log level on import, after `tracking` has set it in the environment.
    from mlflow import MlflowClient

    return MlflowClient(Tracking(load_settings()).uri, Tracking(load_settings()).uri)


def numbers() -> list[int]:
    return [version.number for version in Tracking(load_settings()).versions()]


def delete_version() -> None:
    client().delete_model_version(MODEL_NAME, "1")


def delete_runs() -> None:
    """As a person does in MLflow's pages, followed by its garbage collection."""
    from mlflow.entities import ViewType

    experiments = [each.experiment_id for each in client().search_experiments()]
    for run in client().search_runs(experiments, run_view_type=ViewType.ALL):
        client().delete_run(run.info.run_id)
        shutil.rmtree(run.info.artifact_uri.removeprefix("file://"), ignore_errors=True)


def damage_store() -> None:
    STORE.write_bytes(b"no database" * 1000)


def empty_store() -> None:
    STORE.write_bytes(b"")


@pytest.mark.usefixtures("copy")
@pytest.mark.slow
def test_a_version_that_was_deleted_is_registered_anew(run: Run) -> None:
    assert run(*TRAIN).status == 0
    delete_version()
    refused = run("reproduce", "1").refusal()
    assert "version 1" in refused
    assert "train" in refused
    assert run(*TRAIN).status == 0
    assert numbers() == [2]
    # And then there is nothing new again.
    assert run(*TRAIN).status == 0
    assert numbers() == [2]


@pytest.mark.slow
@pytest.mark.parametrize("lose", [delete_runs, empty_store, STORE.unlink])
@pytest.mark.usefixtures("copy")
def test_what_the_store_lost_is_recorded_anew(run: Run, lose: Callable[[], None]) -> None:
    assert run(*TRAIN).status == 0
    before = {version.run_id for version in Tracking(load_settings()).versions()}
    lose()
    assert run(*TRAIN).status == 0
    newest = Tracking(load_settings()).versions()[-1]
    assert newest.run_id not in before
    assert run("reproduce", newest.number).status == 0


@pytest.mark.slow
@pytest.mark.usefixtures("copy")
def test_a_damaged_store_is_named_and_left_alone_until_somebody_moves_it_away(run: Run) -> None:
    assert run(*TRAIN).status == 0
    damage_store()
    damaged = STORE.read_bytes()
    for command in (TRAIN, ("reproduce", "1")):
        output = run(*command)
        assert output.status == 1
        assert output.err.count("\n") == 1
        assert str(STORE.absolute()) in output.err
        assert STORE.read_bytes() == damaged
    STORE.unlink()
    assert run(*TRAIN).status == 0
    assert numbers() == [1]


def test_on_a_full_disk_nothing_is_begun(copy: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MIN_FREE_BYTES", 2**60)
    output = run(*TRAIN)
    assert output.status == 1
    assert output.err.count("\n") == 1
    assert str(copy / "state") in output.err
    assert not (copy / "state" / "data").exists()
