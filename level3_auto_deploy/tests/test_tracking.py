"""What is on record: runs, versions and the alias, in a database of this project."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bike_demand.core.errors import UserError
from bike_demand.core.settings import load_settings
from bike_demand.data.features import FEATURES
from bike_demand.store.tracking import Dataset, Tracking
from tests.conftest import ROOT
from tests.tiny import constant
from tests.tree import contents

DATASET = Dataset("feed", "0123456789abcdef" * 2, 1416, "2011-01-01T00:00:00", "2011-02-28T23:00:00")
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


def log(tracking: Tracking, answer: float, *artifacts: Path) -> str:
    """A run of a model that always answers this."""
    return tracking.log_run(
        "training",
        params={"max_iter": 100, "learning_rate": 0.1},
        metrics={"mae": 25.5},
        dataset=DATASET,
        tags={"git_commit": "abc"},
        artifacts=artifacts,
        model=constant(Path("made") / str(answer), answer),
    )


def client_of(tracking: Tracking) -> Any:
    """MLflow's own client of that store. Imported here: first, Tracking tells MLflow how to behave."""
    from mlflow import MlflowClient

    return MlflowClient(tracking.uri, tracking.uri)


def registered(tracking: Tracking, count: int) -> None:
    for number in range(1, count + 1):
        tracking.register(log(tracking, number), log(tracking, number + 0.5), {})


def test_before_the_first_run_there_is_nothing_and_nothing_is_made(untouched: Tracking) -> None:
    assert untouched.champion() is None
    assert untouched.versions() == []
    for ask in (lambda: untouched.run("x"), lambda: untouched.version(1)):
        with pytest.raises(UserError, match="nothing is on record yet"):
            ask()
    assert not Path("state").exists()


def test_a_run_is_found_again_as_it_was_logged(tracking: Tracking, tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "by_hour.svg").write_text("<svg/>", encoding="utf-8")
    (tmp_path / "dvc.lock").write_text("schema: '2.0'", encoding="utf-8")
    run_id = log(tracking, 5.0, Path("plots"), Path("dvc.lock"))
    run = tracking.run(run_id)
    assert (run.id, run.name, run.dataset) == (run_id, "training", DATASET)
    assert run.params == {"max_iter": "100", "learning_rate": "0.1"}
    assert run.metrics == {"mae": 25.5}
    assert run.tags["git_commit"] == "abc"
    assert tracking.fetch(run_id, "dvc.lock", tmp_path / "a").read_text(encoding="utf-8") == "schema: '2.0'"
    assert tracking.fetch(run_id, "plots/by_hour.svg", tmp_path / "b").exists()
    fetched = tracking.fetch(run_id, "handoff", tmp_path / "c")
    assert contents(fetched) == contents(Path("made") / "5.0")


def test_two_runs_on_parts_of_the_same_data_keep_their_own_periods(tracking: Tracking) -> None:
    for last in ("2011-02-21T23:00:00", "2011-02-28T23:00:00"):
        data = replace(DATASET, last=last, rows=int(last[8:10]))
        run_id = tracking.log_run("x", params={}, metrics={}, dataset=data, tags={}, artifacts=[])
        assert tracking.run(run_id).dataset == data


def test_the_model_is_an_mlflow_model_with_signature_and_example(tracking: Tracking) -> None:
    version = tracking.register(log(tracking, 5.0), log(tracking, 4.0), {})

    import mlflow

    client = client_of(tracking)
    assert client.get_run(version.run_id).info.status == "FINISHED"
    location = client.get_model_version_download_uri("toy", str(version.number))
    loaded = mlflow.pyfunc.load_model(location)
    signature = loaded.metadata.signature.to_dict()
    (given,) = json.loads(signature["inputs"])
    assert (given["name"], given["tensor-spec"]) == (
        "features",
        {"dtype": "float32", "shape": [-1, len(FEATURES)]},
    )
    assert loaded.predict(loaded.input_example)["prediction"].tolist() == [[5.0]]
    requirements = Path(mlflow.artifacts.download_artifacts(f"{location}/requirements.txt"))
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for line in requirements.read_text(encoding="utf-8").split():
        assert f"\n{line} " in locked, line


def test_logging_leaves_the_environment_as_it_was(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking.register(log(tracking, 5.0), log(tracking, 4.0), {})
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


def test_a_damaged_handoff_is_not_put_on_record(untouched: Tracking) -> None:
    (constant(Path("made") / "5.0", 5.0) / "model.json").write_bytes(b"{}")
    with pytest.raises(UserError, match="damaged or changed"):
        untouched.log_run(
            "x", params={}, metrics={}, dataset=DATASET, tags={}, artifacts=[], model=Path("made") / "5.0"
        )
    assert not DATABASE.exists()


def test_a_version_is_linked_to_its_run_its_holdout_model_and_its_file(tracking: Tracking) -> None:
    run_id, holdout = log(tracking, 1.0), log(tracking, 2.0)
    version = tracking.register(run_id, holdout, {"trained_by": "schedule"})
    assert (version.number, version.run_id, version.holdout_run_id) == (1, run_id, holdout)
    card = json.loads((Path("made") / "1.0" / "model.json").read_text(encoding="utf-8"))
    assert version.digest == card["version"]
    assert version.tags == {"trained_by": "schedule"}
    assert tracking.register(holdout, run_id, {}).number == 2
    assert [each.number for each in tracking.versions()] == [1, 2]
    assert tracking.champion() is None


def test_what_others_write_is_seen_at_once_and_what_nobody_wrote_is_not_asked_for_again(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(tracking, 2)
    tracking.set_alias("champion", 1)
    service = Tracking(load_settings())  # in another process
    for number in (1, 2, 1):
        tracking.set_alias("champion", number, {"why": str(number)})
        seen = service.champion()
        assert seen is not None
        assert (seen.number, dict(seen.tags), seen.aliases) == (number, {"why": str(number)}, ("champion",))
        assert [each.aliases for each in service.versions()][number - 1] == ("champion",)
    with monkeypatch.context() as nobody_answers:
        nobody_answers.setattr(service, "_client", None)
        again = service.champion()
        assert again is not None
        assert again.number == 1
    client_of(tracking).set_model_version_tag("toy", "1", "why", "by hand")
    assert service.version(1).tags == {"why": "by hand"}


def test_what_is_not_on_record_is_told_in_one_line(tracking: Tracking, tmp_path: Path) -> None:
    registered(tracking, 1)
    known = tracking.version(1).run_id
    cases: dict[str, Callable[[], object]] = {
        "run nobody: ": lambda: tracking.run("nobody"),
        "version 9: ": lambda: tracking.version(9),
        "of run nobody: ": lambda: tracking.fetch("nobody", "handoff", tmp_path),
        "it kept no plots": lambda: tracking.fetch(known, "plots", tmp_path),
        "run elsewhere: ": lambda: tracking.register(known, "elsewhere", {}),
        "version 7: ": lambda: tracking.set_alias("champion", 7),
    }
    for named, ask in cases.items():
        with pytest.raises(UserError) as caught:
            ask()
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)
    assert tracking.champion() is None


def test_a_run_without_a_model_cannot_be_registered(tracking: Tracking) -> None:
    run_id = tracking.log_run("holdout", params={}, metrics={}, dataset=DATASET, tags={}, artifacts=[])
    with pytest.raises(UserError, match="kept no model"):
        tracking.register(run_id, run_id, {})


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
        "run = tracking.log_run('r', params={}, metrics={}, dataset=data, tags={}, artifacts=[],"
        " model=Path('made'))\nprint(tracking.register(run, run, {}).number)"
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
    said = [process.communicate(timeout=100) for process in crowd]
    assert [err for _, err in said] == [""] * 4
    assert sorted(int(out) for out, _ in said) == [1, 2, 3, 4]
    assert sorted(path.name for path in (project / "state").iterdir()) == [
        ".mlflow.db.lock",
        "artifacts",
        "mlflow.db",
    ]


@pytest.mark.slow
def test_a_half_made_database_of_an_earlier_attempt_does_no_harm(untouched: Tracking) -> None:
    Path("state").mkdir()
    (Path("state") / ".mlflow.db.new").write_bytes(b"half")
    assert untouched.run(log(untouched, 5.0)).name == "training"


@pytest.mark.parametrize(
    ("uri", "fragment"),
    [
        ("state/mlflow.db", "not an address of a store"),
        ("ftp://host/x", "not an address of a store"),
        ("http://127.0.0.1:port", "tracking.uri"),
        ("http://127.0.0.1:{port}", "does not answer"),
        ("postgresql://somebody:secret@127.0.0.1:{port}/x", "does not answer"),
    ],
)
def test_a_store_that_is_not_there_is_told_in_one_line(
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


def test_a_file_that_is_no_database_is_told_in_one_line(untouched: Tracking) -> None:
    Path("state").mkdir()
    DATABASE.write_bytes(b"this is no database, whatever it is called" * 100)
    with pytest.raises(UserError) as caught:
        untouched.champion()
    assert "mlflow.db" in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- aliases, what answers


def test_before_the_first_run_no_alias_is_there_and_nothing_is_made(untouched: Tracking) -> None:
    assert untouched.aliases() == {}
    assert untouched.traffic_split("champion") is None
    untouched.remove_alias("challenger")
    assert not Path("state").exists()


def test_an_alias_is_given_with_its_tags_and_taken_away(tracking: Tracking) -> None:
    registered(tracking, 2)
    tracking.set_alias("challenger", 2, {"deployment": "d", "ab": "{}"})
    assert tracking.aliases() == {"challenger": 2}
    assert tracking.version(2).tags == {"deployment": "d", "ab": "{}"}
    tracking.set_alias("challenger", 1)
    assert tracking.aliases() == {"challenger": 1}
    tracking.remove_alias("challenger")
    tracking.remove_alias("challenger")
    assert tracking.aliases() == {}
    with pytest.raises(UserError, match="version 9: "):
        tracking.set_alias("x", 9)
    with pytest.raises(UserError, match="version 9: "):
        tracking.tag(9, {"a": "b"})


def test_beside_the_champion_answers_the_challenger_or_else_the_champion_before(tracking: Tracking) -> None:
    registered(tracking, 3)
    tracking.set_alias("champion", 1)

    def beside() -> tuple[int, str | None, float, str] | None:
        split = tracking.traffic_split("champion")
        assert split is not None
        assert split.shown.number == 1
        return None if split.other is None else (split.other.number, split.role, split.share, split.salt)

    assert beside() is None
    tracking.set_alias("previous", 3)
    assert beside() == (3, "previous", 0.0, "")
    test = {"mode": "ab", "share": 0.4, "salt": "s", "began": "2011-04-01T00:00:00"}
    tracking.set_alias("challenger", 2, {"ab": json.dumps(test)})
    assert beside() == (2, "challenger", 0.4, "s")
    tracking.tag(2, {"ab": json.dumps(test | {"mode": "shadow"})})
    assert beside() == (2, "shadow", 0.0, "s")
    tracking.set_alias("challenger", 1)  # a promotion under way
    assert beside() == (3, "previous", 0.0, "")
    tracking.set_alias("previous", 1)
    assert beside() is None
    tracking.set_alias("candidate", 2)
    split = tracking.traffic_split("candidate")
    assert split is not None
    assert (split.shown.number, split.other) == (2, None)


@pytest.mark.parametrize(
    "tag", [None, "", "{}", "no json", "[]", '{"mode": "ab", "share": "x", "salt": "s"}']
)
def test_a_challenger_whose_test_cannot_be_read_does_not_harm_the_champion(
    tracking: Tracking, tag: str | None
) -> None:
    registered(tracking, 2)
    tracking.set_alias("champion", 1)
    tracking.set_alias("challenger", 2, {} if tag is None else {"ab": tag})
    split = tracking.traffic_split("champion")
    assert split is not None
    assert (split.shown.number, split.other) == (1, None)
