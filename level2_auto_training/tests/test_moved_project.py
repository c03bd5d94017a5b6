"""A project that was moved or copied: its runs are found, and what is new stays in it."""

import shutil
import sqlite3
from contextlib import chdir, closing
from pathlib import Path

import pytest

from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.store.tracking import EXPERIMENT, Dataset, Tracking
from tests.tiny import constant
from tests.tree import contents

ARTIFACTS = Path("state") / "artifacts" / EXPERIMENT


@pytest.fixture
def old(stored: Path) -> Path:
    """A project with a registered version."""
    (stored / "kept.txt").write_text("1", encoding="utf-8")
    log()
    return stored


@pytest.fixture
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere") / "project"


def log() -> str:
    """A run of the project in the current folder, which keeps its params.yaml and a model."""
    logged = Tracking(load_settings()).log_run(
        "training",
        params={},
        metrics={},
        dataset=Dataset("feed", "0" * 32, 1, "2011-01-01", "2011-02-28"),
        tags={"kind": "test"},
        artifacts=[Path("params.yaml")],
        model=constant(Path("made"), 5.0),
    )
    return logged.run_id


def kept(scratch: Path) -> list[bytes]:
    """What the runs kept, read through the store of the project in the current folder."""
    tracking = Tracking(load_settings())
    runs = tracking.runs_with_tag("kind", "test")
    return [tracking.fetch(run.id, "params.yaml", scratch / run.id).read_bytes() for run in runs]


def test_variables_that_belong_to_other_runs_of_mlflow_change_nothing(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of another project")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    (stored / "kept.txt").write_text("1", encoding="utf-8")
    assert log() in {run.id for run in Tracking(load_settings()).runs_with_tag("kind", "test")}


def addresses(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return "\n".join(connection.iterdump())


def test_a_moved_project_finds_its_runs_and_logs_new_ones_where_it_is(old: Path, new: Path) -> None:
    scratch = new.parent
    old.rename(new)
    with chdir(new):
        assert len(kept(scratch / "a")) == 1
        run_id = log()
        assert (ARTIFACTS / run_id / "artifacts" / "params.yaml").is_file()
        assert len(kept(scratch / "b")) == 2
        with Tracking(load_settings()).client() as client:
            models = client.search_logged_models(["1"])
        assert len(models) == 2
        assert all(each.artifact_location.startswith((new / ARTIFACTS).as_uri()) for each in models)
    assert not old.exists()


def test_a_copy_leaves_the_original_alone(old: Path, new: Path) -> None:
    scratch = new.parent
    shutil.copytree(old, new)
    before = contents(old)
    with chdir(new):
        run_id = log()
        assert (ARTIFACTS / run_id).is_dir()
        assert len(kept(scratch / "a")) == 2
    assert contents(old) == before
    assert len(kept(scratch / "b")) == 1


def test_a_project_that_moved_without_its_files_says_so_before_anything_is_written(
    old: Path, new: Path
) -> None:
    (new / "state").mkdir(parents=True)
    for name in ("state/mlflow.db", "params.yaml"):
        shutil.copy(name, new / name)
    before, database = contents(old), addresses(old / "state" / "mlflow.db")
    with chdir(new):
        with pytest.raises(UserError, match="project moved without the files") as refused:
            log()
        assert f"copy {old / ARTIFACTS} to {new / ARTIFACTS}" in str(refused.value)
        assert addresses(Path("state") / "mlflow.db") == database
        shutil.copytree(old / ARTIFACTS, ARTIFACTS)
        log()
    assert contents(old) == before


def test_projects_that_share_a_database_share_its_files_as_long_as_these_are_there(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = new.parent
    shared = scratch / "shared.db"
    (old / "state" / "mlflow.db").rename(shared)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared.as_posix()}")
    new.mkdir()
    shutil.copy(old / "params.yaml", new)
    with chdir(new):
        assert (old / ARTIFACTS / log()).is_dir()
        assert len(kept(scratch / "a")) == 2
        assert not ARTIFACTS.exists()
    shutil.rmtree(new)
    old.rename(new)
    with chdir(new):
        assert len(kept(scratch / "b")) == 2


def test_a_location_that_somebody_chose_stays(stored: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(stored / "state" / "mlflow.db")) as connection, connection:
        chosen = (tmp_path / "chosen").as_uri()
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE name = ?", (chosen, EXPERIMENT)
        )
    run_id = log()
    assert (tmp_path / "chosen" / run_id).is_dir()
    assert not ARTIFACTS.exists()
