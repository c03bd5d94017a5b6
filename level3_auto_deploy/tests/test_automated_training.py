"""`train` as a machine runs it: what it logs, what stops it, and what it leaves alone."""

import csv
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from bike_demand.core.current import loss_with_unit
from bike_demand.core.settings import DATA, load_settings
from bike_demand.data.frames import time_range
from bike_demand.data.ingested import read_rows
from bike_demand.data.month import iso
from bike_demand.handoff import read_handoff
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Tracking, Version
from bike_demand.training.pipeline import data_digest, require_params_from_file
from bike_demand.training.record import find_logged_run
from tests.conftest import COPY_ENVIRONMENT, Run
from tests.feedmaker import HEADER, MONTHS, month_lines, write_month
from tests.project_copy import NAME, change_params, commit, git, make_copy
from tests.toy import MACHINES
from tests.tree import contents

HEAT = HEADER.split(",").index("heat")

HOME = ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA", "APPDATA")


@dataclass(frozen=True)
class Trained:
    """A copy of the project in which one training ran, as a process with an empty home folder."""

    folder: Path
    home: Path
    out: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Look at it, change nothing in it."""
    folder = make_copy(tmp_path_factory.mktemp("copy") / NAME)
    home = tmp_path_factory.mktemp("home")
    env = {
        name: value for name, value in os.environ.items() if name not in (*COPY_ENVIRONMENT, "MPLCONFIGDIR")
    }
    git_config = {"GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        [sys.executable, "-m", "bike_demand", "train"],
        cwd=folder,
        env=env | dict.fromkeys(HOME, str(home)) | git_config,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return Trained(folder, home, done.stdout)


@pytest.fixture
def in_trained(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Trained:
    for name in COPY_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(trained.folder)
    return trained


def dvc(*arguments: str) -> str:
    """What a command of DVC prints in the current folder."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(
        command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracking() -> Tracking:
    return Tracking(load_settings())


def versions() -> list[Version]:
    return tracking().versions()


@pytest.mark.usefixtures("in_trained")
def test_refit_uses_all_rows_and_holdout_model_excludes_last_week(tmp_path: Path) -> None:
    (version,) = versions()
    assert version.holdout_run_id is not None
    rows = read_rows(DATA)
    model, holdout = tracking().run(version.run_id), tracking().run(version.holdout_run_id)
    assert model.dataset is not None
    assert holdout.dataset is not None
    assert (model.dataset.rows, model.dataset.last) == (len(rows), iso(time_range(rows)[1]))
    seen = rows[rows["begins"] < "2011-03-25"]
    assert (holdout.dataset.rows, holdout.dataset.last) == (len(seen), iso(time_range(seen)[1]))
    assert model.dataset.digest == holdout.dataset.digest == data_digest()
    kept = read_handoff(tracking().fetch(version.run_id, HANDOFF_ARTIFACT, tmp_path))
    assert kept.manifest.version == version.digest
    assert holdout.tags["digest"] != version.digest
    recorded = find_logged_run(tracking())
    assert recorded is not None
    for part in (f"{len(rows):,} rows", data_digest(), loss_with_unit(model.metrics["holdout_error"])):
        assert part in version.description
    logged = pytest.approx(model.metrics["holdout_error"], rel=1e-5)
    assert float(version.tags["holdout_error"]) == logged
    assert recorded.data_summary.startswith(f"It was trained on {len(rows):,} rows")


@pytest.mark.usefixtures("in_trained")
def test_run_logs_everything_needed_to_evaluate_and_reproduce_it(tmp_path: Path) -> None:
    (version,) = versions()
    commit_id = git(Path(), "rev-parse", "HEAD").strip()
    for run_id in (version.run_id, version.holdout_run_id or ""):
        run = tracking().run(run_id)
        assert run.tags["git.commit"] == commit_id
        assert run.tags["git.uncommitted"] == "false"
        assert run.params["half_life_days"] == str(load_settings().training.half_life_days)
        assert run.params["max_leaf_nodes"] == "31"
        assert run.metrics == json.loads(Path("state/run/metrics.json").read_text(encoding="utf-8"))
        assert 0 < run.metrics["holdout_error"] < run.metrics["error_of_baseline"]
        for name in ("dvc.lock", "requirements.lock", "params.yaml"):
            kept = tracking().fetch(run_id, name, tmp_path / run_id)
            assert kept.read_bytes() == Path(name).read_bytes()
        plots = tracking().fetch(run_id, "plots", tmp_path / run_id)
        assert sorted(path.name for path in plots.iterdir()) == [
            "error_by_slice.svg",
            "error_by_week.svg",
            "predicted_against_actual.svg",
        ]
        assert all("<svg" in path.read_text(encoding="utf-8") for path in plots.iterdir())


def test_train_prints_location_result_and_next_command(in_trained: Trained) -> None:
    (version,) = versions()
    lines = in_trained.out.splitlines()
    assert lines[0] == "No Prefect server is running, so the steps run in this process."
    assert version.run_id in lines[1]
    command = lines[-1].partition("python -m bike_demand ")[2]
    assert command in ("release 1", "deploy 1")  # whichever this project has
    assert len(lines) == 4


def test_train_writes_only_state_and_dvc_files(in_trained: Trained) -> None:
    assert list(in_trained.home.iterdir()) == []
    ignored = git(in_trained.folder, "status", "--porcelain", "--ignored").splitlines()
    reported = {line.removeprefix("!! ") for line in ignored if "__pycache__" not in line}
    assert reported == {".dvc/tmp/", "?? dvc.lock", "feed/", "state/"}


def test_a_second_run_with_nothing_changed_does_nothing(in_trained: Trained, run: Run) -> None:
    before = contents(in_trained.folder / "state" / "run")
    lock = Path("dvc.lock").read_bytes()
    output = run("train")
    assert (output.status, output.err) == (0, "")
    assert "nothing to do" in output.out
    assert len(versions()) == 1
    assert contents(in_trained.folder / "state" / "run") == before
    assert Path("dvc.lock").read_bytes() == lock


@pytest.mark.usefixtures("in_trained")
def test_the_version_is_the_newest_trained_one_and_keeps_golden_rows(tmp_path: Path) -> None:
    (version,) = versions()
    assert tracking().aliases() == {"trained": version.number}
    golden = read_handoff(tracking().fetch(version.run_id, HANDOFF_ARTIFACT, tmp_path)).golden
    assert len(golden) == 47
    assert {row.request["machine"] for row in golden} == set(MACHINES)


@pytest.mark.slow
@pytest.mark.usefixtures("in_trained")
def test_dvc_itself_shows_metrics_and_finds_nothing_to_do() -> None:
    metrics = json.loads(Path("state/run/metrics.json").read_text(encoding="utf-8"))
    shown = json.loads(dvc("metrics", "show", "--json"))
    assert shown[""]["data"]["state/run/metrics.json"]["data"] == metrics
    assert json.loads(dvc("status", "--json")) == {}
    for file in (Path("bike_demand/stages.py"), Path("bike_demand/core/settings.py")):
        code = file.read_bytes()
        file.write_bytes(code + b"# changed\n")
        assert {"validate", "train", "evaluate"} <= json.loads(dvc("status", "--json")).keys()
        file.write_bytes(code)
    again = dvc("repro")
    for stage in ("validate", "train", "evaluate"):
        assert f"Stage '{stage}' didn't change, skipping" in again


@pytest.mark.slow
def test_dvc_knows_each_training_by_its_name(copy: Path, run: Run, tmp_path: Path) -> None:
    assert run("train", "--as-of", "2011-03-10").status == 0
    early = contents(copy / DATA)
    git(copy, "add", "dvc.lock")  # whether somebody commits it or not
    change_params(copy, params="{max_iter: 20}")
    commit(copy)
    git(copy, "config", "user.name", "Somebody")  # DVC puts the changed file aside by `git stash`
    git(copy, "config", "user.email", "somebody@localhost")
    assert run("train").status == 0
    first, second = (tracking().run(each.run_id) for each in versions())
    assert second.tags["git.uncommitted"] == "false"
    rows = csv.DictReader(io.StringIO(dvc("exp", "show", "--csv", "--all-commits")))
    found = {each["Experiment"]: each["holdout_error"] for each in rows}
    assert float(found["version-1"]) == pytest.approx(first.metrics["holdout_error"])
    assert float(found["version-2"]) == pytest.approx(second.metrics["holdout_error"])
    compared = json.loads(dvc("metrics", "diff", "--json", "version-1", "version-2"))
    holdout_error = compared["state/run/metrics.json"]["holdout_error"]
    assert (holdout_error["old"], holdout_error["new"]) == (
        first.metrics["holdout_error"],
        second.metrics["holdout_error"],
    )
    dvc("plots", "diff", "--out", str(tmp_path / "plots"), "version-1", "version-2")
    drawn = {path.name for path in (tmp_path / "plots" / "static").iterdir()}
    assert {name.partition("_")[0] for name in drawn} == {"version-1", "version-2"}
    dvc("get", ".", DATA.as_posix(), "--rev", "version-1", "--out", str(tmp_path / "data"))
    assert contents(tmp_path / "data") == {
        name: data for name, data in early.items() if name != "sources.json"
    }
    assert json.loads(dvc("status", "--json")) == {}
    assert git(copy, "status", "--porcelain") == " M dvc.lock\n"


@pytest.mark.slow
@pytest.mark.usefixtures("copy")
def test_as_of_does_not_change_run_digest(run: Run) -> None:
    assert run("train", "--as-of", "2011-04-01").status == 0
    assert "nothing to do" in run("train", "--as-of", "2011-04-01T01:00:00").out
    assert "nothing to do" in run("train").out
    (version,) = versions()
    assert tracking().run(version.run_id).tags["as_of"] == "2011-04-01T00:00:00"


@pytest.mark.slow
def test_allow_dirty_trains_outside_git(copy: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(copy.parent))
    shutil.rmtree(copy / ".git")
    output = run("train", "--allow-dirty")
    assert (output.status, output.err) == (0, "")
    assert json.loads(dvc("status", "--json")) == {}
    git(copy, "init", "--quiet")
    commit(copy)
    assert "registered as version 2" in run("train").out  # the first one can never be reproduced
    assert "nothing to do" in run("train").out
    assert json.loads(dvc("metrics", "diff", "--json", "HEAD")) == {}


@pytest.mark.parametrize(
    "variable", ["BIKE_TRAINING__HALF_LIFE_DAYS", "BIKE_QUALITY".lower(), "BIKE_PROBLEM"]
)
@pytest.mark.usefixtures("in_trained")
def test_variable_that_overrides_a_parameter_of_a_stage_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("BIKE_SERVING__PORT", "8001")
    monkeypatch.setenv("BIKE_CLOCK", "")
    require_params_from_file()
    monkeypatch.setenv(variable, '{"stale": "off"}' if variable.islower() else "5")
    assert f"{variable} is set, but trainings read params.yaml only" in run("train").err


@pytest.mark.usefixtures("in_trained")
def test_concurrent_training_is_refused(run: Run) -> None:
    with FileLock("state/train.lock"):
        outputs = run("train"), run("ingest")
    for output in outputs:
        assert output.status == 1
        assert "another training or ingestion is running here" in output.err


@pytest.mark.slow
def test_bad_data_stop_it_before_training_and_leave_the_last_good_model(copy: Path, run: Run) -> None:
    assert run("train", "--as-of", "2011-03-01").status == 0
    (good,) = versions()
    tracking().set_alias("champion", good.number)
    models = {name: contents(copy / "state" / "run" / name) for name in ("holdout", "refit")}
    lines = month_lines(MONTHS[-1])
    path = copy / "feed" / f"{MONTHS[-1]}.csv"
    write_month(path, [in_fahrenheit(line) if number > 500 else line for number, line in enumerate(lines)])
    output = run("train")
    assert output.status == 1
    assert output.err.startswith("error: the data are not fit for training: heat changes its unit")
    assert lines[501][:19] in output.err
    assert output.err.count("\n") == 1
    assert [each.number for each in versions()] == [good.number]
    assert tracking().champion() == tracking().version(good.number)
    assert {name: contents(copy / "state" / "run" / name) for name in models} == models
    write_month(path, lines)
    assert run("train").status == 0
    assert len(versions()) == 2


def test_a_feed_that_is_not_right_stops_it_before_anything_is_ingested(copy: Path, run: Run) -> None:
    lines = month_lines(MONTHS[-1])
    write_month(copy / "feed" / f"{MONTHS[-1]}.csv", [*lines[:50], lines[49], *lines[50:]])
    output = run("train")
    assert output.status == 1
    assert "2011-03.csv, line 52, column begins" in output.err
    assert "appears twice" in output.err
    assert output.err.count("\n") == 1
    assert not list((copy / "state").glob("data/*.parquet"))
    assert not (copy / "state" / "mlflow.db").exists()


def test_unreachable_tracking_store_fails_before_ingest(copy: Path, run: Run) -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        change_params(copy, uri=address)
        commit(copy)
        output = run("train")
    assert output.status == 1
    assert output.err.startswith(f"error: {address}: the tracking store does not respond")
    assert not list((copy / "state").glob("data/*.parquet"))


@pytest.mark.slow
def test_poor_holdout_model_is_logged_but_not_registered(copy: Path, run: Run) -> None:
    change_params(copy, worst_ratio="0.01")
    commit(copy)
    output = run("train")
    assert output.status == 1
    assert "no version was registered" in output.err
    assert versions() == []
    (run_id,) = [word for word in output.err.split() if len(word) == 32]
    assert tracking().run(run_id).tags["passed"] == "false"
    assert "no version was registered" in run("train").err


@pytest.mark.slow
def test_a_changed_setting_makes_a_new_model_and_others_do_not(copy: Path, run: Run) -> None:
    assert run("train").status == 0
    change_params(copy, port="8001")
    commit(copy)
    assert "nothing to do" in run("train").out
    change_params(copy, params="{max_iter: 20}")
    commit(copy)
    assert run("train").status == 0
    first, second = versions()
    assert first.digest != second.digest
    assert tracking().run(second.run_id).params["max_iter"] == "20"


def test_code_that_is_not_committed_is_refused(copy: Path, run: Run) -> None:
    (copy / "bike_demand" / "data" / "new.py").write_text('"""New."""\n', encoding="utf-8")
    git(copy, "config", "status.showUntrackedFiles", "no")
    output = run("train")
    assert output.status == 1
    assert "there are uncommitted changes" in output.err
    assert "--allow-dirty" in output.err
    assert not (copy / "state" / "data").exists()


def test_a_folder_that_is_in_no_commit_is_refused(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    change_params(project, api='""')
    output = run("train")
    assert output.status == 1
    assert "this folder is not committed" in output.err


# ---- the deployment that follows


@pytest.mark.slow
def test_a_training_goes_on_to_deploy_by_itself(copy: Path, run: Run) -> None:
    change_params(copy, automatic="true")
    commit(copy)
    output = run("train", "--as-of", "2011-03-20")
    assert (output.status, output.err) == (0, "")
    assert "No Prefect server deploys new versions; deploying in this process." in output.out
    assert "Version 1 is live: no champion to test it against." in output.out
    assert tracking().aliases() == {"trained": 1, "candidate": 1, "champion": 1}
    output = run("train", "--as-of", "2011-03-20")
    assert output.out.splitlines()[-1] == "Version 1 is live already; nothing was changed."
    output = run("train", "--as-of", "2011-03-31")
    assert (output.status, output.err) == (0, "")
    assert "its A/B test against version 1 starts" in output.out
    assert tracking().aliases() == {"trained": 2, "candidate": 2, "champion": 1, "challenger": 2}


@pytest.mark.slow
@pytest.mark.usefixtures("copy")
def test_version_refused_by_a_gate_stays_registered_and_train_fails(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIKE_DEPLOY__START_SECONDS", "0.001")
    output = run("train", "--deploy", "--as-of", "2011-03-20")
    assert output.status == 1
    assert output.err.startswith("error: version 1 is refused by gate test-environment:")
    assert output.err.count("\n") == 1
    assert [each.number for each in versions()] == [1]
    assert tracking().aliases() == {"trained": 1, "candidate": 1}
    output = run("train", "--deploy", "--as-of", "2011-03-20")
    assert output.status == 0
    assert "Version 1 was deployed before: failed gate" in output.out
    assert output.out.endswith("python -m bike_demand deploy 1).\n")


def in_fahrenheit(line: str) -> str:
    cells = line.split(",")
    cells[HEAT] = f"{float(cells[HEAT]) * 9 / 5 + 32:.2f}"
    return ",".join(cells)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a test cannot press Ctrl-C there")
def test_ctrl_c_during_a_stage_exits_130_without_traceback(copy: Path) -> None:
    training = subprocess.Popen(
        [sys.executable, "-m", "bike_demand", "train"],
        cwd=copy,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    give_up = time.monotonic() + 60
    while not (copy / "state" / "run" / "validation.json").exists():  # then comes the stage that trains
        assert training.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.05)
    time.sleep(1.0)
    os.killpg(training.pid, signal.SIGINT)  # as a terminal does: to everything it started
    _, errors = training.communicate(timeout=60)
    assert training.returncode == 130
    assert "Traceback" not in errors
    assert not (copy / "state" / "mlflow.db").exists()
