"""What is logged: runs, versions and the alias, in a database of this project."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.util.exc import CommandError

from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.data.model_inputs import NUMERIC_FEATURES
from bike_demand.store.tracking import Dataset, Logged, Tracking, Version
from tests.conftest import ROOT
from tests.mlflow_server import model_server
from tests.tiny import constant
from tests.tree import contents

DATASET = Dataset("feed", "0123456789abcdef" * 2, 1416, "2011-01-01T00:00:00", "2011-02-28T00:00:00")
DATABASE = Path("state") / "mlflow.db"


@pytest.fixture
def tracking(stored: Path) -> Tracking:
    assert stored
    return Tracking(load_settings())


@pytest.fixture
def untouched(project: Path) -> Tracking:
    """The same before its first use."""
    assert project
    return Tracking(load_settings())


def log(tracking: Tracking, answer: float, *artifacts: Path, holdout_run_id: str | None = None) -> Logged:
    """A run of a model that always answers this."""
    return tracking.log_run(
        "training",
        params={"max_iter": 100, "learning_rate": 0.1},
        metrics={"holdout_error": 25.5},
        dataset=DATASET,
        tags={"git_commit": "abc"},
        artifacts=artifacts,
        model=constant(Path("made") / str(answer), answer),
        holdout_run_id=holdout_run_id,
        version_tags={"trained_by": "schedule"},
    )


def client_of(tracking: Tracking) -> Any:
    """MLflow's own client of that store. Imported here: Tracking has to configure MLflow first."""
    from mlflow import MlflowClient

    return MlflowClient(tracking.uri, tracking.uri)


def registered(tracking: Tracking, count: int) -> Version:
    """Register that many versions; the last one."""
    for number in range(1, count + 1):
        logged = log(tracking, number, holdout_run_id=log(tracking, number + 0.5).run_id)
    return tracking.version(logged.version or 0)


def test_before_the_first_run_there_is_nothing_and_nothing_is_made(untouched: Tracking) -> None:
    assert untouched.champion() is None
    assert untouched.aliases() == {}
    assert untouched.versions() == []
    for call in (lambda: untouched.run("x"), lambda: untouched.version(1)):
        with pytest.raises(UserError, match="no run logged yet"):
            call()
    assert not Path("state").exists()


def test_a_run_is_found_again_as_it_was_logged(tracking: Tracking, tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "by_week.svg").write_text("<svg/>", encoding="utf-8")
    (tmp_path / "dvc.lock").write_text("schema: '2.0'", encoding="utf-8")
    run_id = log(tracking, 5.0, Path("plots"), Path("dvc.lock")).run_id
    run = tracking.run(run_id)
    assert (run.id, run.name, run.dataset) == (run_id, "training", DATASET)
    assert run.params == {"max_iter": "100", "learning_rate": "0.1"}
    assert run.metrics == {"holdout_error": 25.5}
    assert run.tags["git_commit"] == "abc"
    assert tracking.fetch(run_id, "dvc.lock", tmp_path / "a").read_text(encoding="utf-8") == "schema: '2.0'"
    assert tracking.fetch(run_id, "plots/by_week.svg", tmp_path / "b").exists()
    fetched = tracking.fetch(run_id, "handoff", tmp_path / "c")
    assert contents(fetched) == contents(Path("made") / "5.0")


def test_two_runs_on_parts_of_the_same_data_keep_their_own_periods(tracking: Tracking) -> None:
    for last in ("2011-02-21T00:00:00", "2011-02-28T00:00:00"):
        data = replace(DATASET, last=last, rows=int(last[8:10]))
        logged = tracking.log_run("x", params={}, metrics={}, dataset=data, tags={})
        assert logged.version is None
        assert tracking.run(logged.run_id).dataset == data


def test_the_model_is_an_mlflow_model_with_signature_and_example(tracking: Tracking) -> None:
    version = registered(tracking, 5)

    import mlflow

    client = client_of(tracking)
    assert client.get_run(version.run_id).info.status == "FINISHED"
    location = client.get_model_version_download_uri("toy", str(version.number))
    loaded = mlflow.pyfunc.load_model(location)
    signature = loaded.metadata.signature.to_dict()
    given = {each["name"]: each["tensor-spec"] for each in json.loads(signature["inputs"])}
    assert given == {
        "features": {"dtype": "float32", "shape": [-1, len(NUMERIC_FEATURES)]},
        "material": {"dtype": "object", "shape": [-1, 1]},
    }
    assert loaded.predict(loaded.input_example)["prediction"].tolist() == [[5.0]]
    requirements = Path(mlflow.artifacts.download_artifacts(f"{location}/requirements.txt"))
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for line in requirements.read_text(encoding="utf-8").split():
        assert f"\n{line} " in locked, line


@pytest.mark.slow
def test_mlflow_serves_a_registered_model_with_its_own_command(tracking: Tracking) -> None:
    registered(tracking, 1)
    tracking.set_alias("champion", 1)
    uri = client_of(tracking).get_model_version_download_uri("toy", "1").removeprefix("file://")
    example = (Path(uri) / "serving_input_example.json").read_text(encoding="utf-8")
    assert list(json.loads(example)["inputs"]) == ["features", "material"]
    with model_server("models:/toy@champion", tracking.uri, Path.cwd()) as server:
        answered = httpx.post(
            f"{server.url}/invocations", content=example, headers={"Content-Type": "application/json"}
        )
    assert answered.json() == {"predictions": {"prediction": [[1.0]]}}


def test_logging_leaves_the_environment_as_it_was(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(tracking, 1)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    log(tracking, 5.0)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:1"


def test_a_run_that_was_cut_off_stays_there_as_failed(tracking: Tracking) -> None:
    with pytest.raises(FileNotFoundError):
        log(tracking, 5.0, Path("not there"))
    client = client_of(tracking)
    (experiment,) = (each for each in client.search_experiments() if each.name == "toy")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]


def test_damaged_handoff_is_not_logged_or_registered(untouched: Tracking) -> None:
    (constant(Path("made") / "5.0", 5.0) / "model.json").write_bytes(b"{}")
    with pytest.raises(UserError, match="damaged or edited"):
        untouched.log_run("x", params={}, metrics={}, dataset=DATASET, tags={}, model=Path("made") / "5.0")
    assert not DATABASE.exists()


def test_a_version_is_linked_to_its_run_its_holdout_model_and_its_file(tracking: Tracking) -> None:
    holdout = log(tracking, 2.0).run_id
    final = log(tracking, 1.0, holdout_run_id=holdout)
    assert final.version == 1
    version = tracking.version(1)
    assert (version.number, version.run_id, version.holdout_run_id) == (1, final.run_id, holdout)
    manifest = json.loads((Path("made") / "1.0" / "model.json").read_text(encoding="utf-8"))
    assert version.digest == manifest["version"]
    assert version.tags == {"trained_by": "schedule"}
    assert log(tracking, 2.0, holdout_run_id=final.run_id).version == 2
    assert [each.number for each in tracking.versions()] == [1, 2]
    assert tracking.champion() is None


@pytest.mark.slow
def test_incompletely_registered_version_is_ignored(tracking: Tracking) -> None:
    version = registered(tracking, 2)
    client_of(tracking).create_model_version("toy", "file:///nowhere", version.run_id)
    assert [each.number for each in tracking.versions()] == [1, 2]


@pytest.mark.slow
def test_changes_by_other_clients_are_visible(tracking: Tracking) -> None:
    registered(tracking, 2)
    service = Tracking(load_settings())  # in another process
    for number in (1, 2, 1):
        tracking.set_alias("champion", number, {"why": str(number)})
        seen = service.champion()
        assert seen is not None
        assert (seen.number, seen.tags["why"]) == (number, str(number))
    client_of(tracking).set_model_version_tag("toy", "1", "why", "by hand")
    assert service.version(1).tags["why"] == "by hand"


def test_change_token_changes_after_write(tracking: Tracking) -> None:
    file = Path(tracking.uri.removeprefix("sqlite:///"))
    assert tracking.change_token() is None  # there is nothing yet
    registered(tracking, 1)
    assert tracking.change_token() is None  # too fresh: the next change could have the same time

    def rested(seconds: float) -> object:
        os.utime(file, (time.time() - seconds,) * 2)
        return tracking.change_token()

    before = rested(60)
    assert before is not None
    assert tracking.change_token() == before
    tracking.set_alias("champion", 1)
    assert tracking.change_token() is None
    assert rested(30) != before


def test_unknown_run_version_or_artifact_is_one_line_error(tracking: Tracking, tmp_path: Path) -> None:
    registered(tracking, 1)
    known = tracking.version(1).run_id
    cases: dict[str, Callable[[], object]] = {
        "run nobody: ": lambda: tracking.run("nobody"),
        "version 9: ": lambda: tracking.version(9),
        "of run nobody: ": lambda: tracking.fetch("nobody", "handoff", tmp_path),
        "it has no plots": lambda: tracking.fetch(known, "plots", tmp_path),
        "version 7: ": lambda: tracking.set_alias("champion", 7),
    }
    for named, call in cases.items():
        with pytest.raises(UserError) as caught:
            call()
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)
    assert tracking.champion() is None


@pytest.mark.slow
def test_deleted_state_is_made_anew_while_the_process_goes_on(tracking: Tracking) -> None:
    registered(tracking, 2)
    tracking.set_alias("champion", 2)
    shutil.rmtree("state")
    assert tracking.champion() is None
    registered(tracking, 1)
    assert [each.number for each in tracking.versions()] == [1]
    assert tracking.champion() is None


@pytest.mark.slow
def test_four_processes_that_start_at_once_make_one_database(project: Path) -> None:
    constant(project / "made", 5.0)
    script = (
        "import sys\nfrom pathlib import Path\nfrom bike_demand.core.settings import load_settings\n"
        "from bike_demand.store.tracking import Dataset, Tracking\n"
        "tracking = Tracking(load_settings())\nsys.stdin.read()\n"
        "data = Dataset('feed', 'd', 1, '2011-01-01T00:00:00', '2011-01-01T00:00:00')\n"
        "print(tracking.log_run('r', params={}, metrics={}, dataset=data, tags={}, model=Path('made'),"
        " holdout_run_id='h').version)"
    )
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    output = [process.communicate(timeout=100) for process in crowd]
    assert [err for _, err in output] == [""] * 4
    assert sorted(int(out) for out, _ in output) == [1, 2, 3, 4]
    assert sorted(path.name for path in (project / "state").iterdir()) == [
        ".mlflow.db.lock",
        "artifacts",
        "mlflow.db",
    ]


@pytest.mark.slow
def test_a_half_made_database_of_an_earlier_attempt_does_no_harm(untouched: Tracking) -> None:
    Path("state").mkdir()
    (Path("state") / ".mlflow.db.new").write_bytes(b"half")
    assert untouched.run(log(untouched, 5.0).run_id).name == "training"


def test_an_error_of_the_server_names_no_password(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def hang_up() -> None:
        for _ in range(2):  # the check whether it responds, and the request
            server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=hang_up, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://somebody:secret@{address}")
        with pytest.raises(UserError, match=address) as caught:
            Tracking(load_settings()).champion()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "fragment"),
    [
        ("state/mlflow.db", "not an address of a store"),
        ("ftp://host/x", "not an address of a store"),
        ("http://127.0.0.1:port", "tracking.uri"),
        ("http://somebody:secret@127.0.0.1:port", "tracking.uri"),
        ("http://127.0.0.1:{port}", "does not respond"),
        ("postgresql://somebody:secret@127.0.0.1:{port}/x", "does not respond"),
    ],
)
def test_a_store_that_is_not_there_is_reported_in_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, uri: str, fragment: str
) -> None:
    assert project
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=nobody.getsockname()[1]))
        with pytest.raises(UserError) as caught:
            Tracking(load_settings()).champion()
    assert fragment in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_reported_in_one_line(untouched: Tracking) -> None:
    Path("state").mkdir()
    DATABASE.write_bytes(b"this is no database, whatever it is called" * 100)
    with pytest.raises(UserError) as caught:
        untouched.champion()
    assert "mlflow.db" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("is_upgraded", "message"), [(False, "belongs to another program"), (True, "upgraded; try again")]
)
def test_a_database_with_other_migrations_is_reported_in_one_line(
    untouched: Tracking, monkeypatch: pytest.MonkeyPatch, is_upgraded: bool, message: str
) -> None:
    Path("state").mkdir()
    with closing(sqlite3.connect(DATABASE)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
    if is_upgraded:  # by another process, at the same time

        def migrate(*_: object) -> None:
            raise CommandError("Online migration expected to match one row when updating 'a' to 'b'; 0 found")

        monkeypatch.setattr("alembic.command.upgrade", migrate)
    with pytest.raises(UserError, match=message) as caught:
        untouched.champion()
    assert "\n" not in str(caught.value)
