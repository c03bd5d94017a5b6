"""`reproduce`: any model can be made again from its record, and its data restored row by row."""

import json
import shutil
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from bike_demand.core.settings import DATA, load_settings
from bike_demand.data.ingested import read_rows
from bike_demand.store.tracking import Dataset, Tracking
from bike_demand.training.pipeline import data_digest
from tests.conftest import Run
from tests.project_copy import commit, git

EARLY = "2011-03-10"


def runs() -> list[str]:
    return [version.run_id for version in Tracking(load_settings()).versions()]


@pytest.mark.slow
def test_old_run_is_reproduced_from_remote_storage(copy: Path, run: Run) -> None:
    assert run("train", "--as-of", EARLY).status == 0
    rows = read_rows(DATA)
    problem = copy / "bike_demand" / "problem" / "__init__.py"
    text = problem.read_text(encoding="utf-8")
    assert "early_stopping=False" in text
    problem.write_text(text.replace("early_stopping=False", "early_stopping=False, max_bins=9"), "utf-8")
    commit(copy)
    assert run("train").status == 0
    shutil.rmtree(copy / "state" / "dvc-cache")
    (first, second) = Tracking(load_settings()).versions()
    before = (git(copy, "status", "--porcelain"), (copy / "dvc.lock").read_bytes())
    for wanted, run_id in ((str(first.number), first.run_id), (first.holdout_run_id, first.holdout_run_id)):
        output = run("reproduce", wanted)
        assert (output.status, output.err) == (0, "")
        assert "identical: model" in output.out
        restored = read_rows(copy / "state" / "reproduced" / str(run_id) / DATA)
        pd.testing.assert_frame_equal(restored, rows)
        assert (restored["begins"] < EARLY).all()
    assert (git(copy, "status", "--porcelain"), (copy / "dvc.lock").read_bytes()) == before
    assert read_rows(DATA)["begins"].max() == datetime(2011, 3, 31)
    assert first.digest != second.digest


@pytest.mark.slow
def test_a_run_of_uncommitted_code_is_made_again_from_the_changes_kept_with_it(copy: Path, run: Run) -> None:
    settings = {"diff.noprefix": "true", "color.ui": "always", "diff.external": "false"}
    for name, value in (settings | {"status.showUntrackedFiles": "no"}).items():
        git(copy, "config", name, value)
    (copy / "bike_demand" / "data" / "new.py").write_text('"""New."""\n', encoding="utf-8")
    stages = copy / "bike_demand" / "stages.py"
    text = stages.read_text(encoding="utf-8")
    export = "        model = to_onnx(pipeline)\n"
    assert export in text
    trace = f'        Path("trained-here").touch()\n{export}'
    stages.write_text(text.replace(export, trace), encoding="utf-8", newline="\n")
    with (copy / "dvc.yaml").open("a", encoding="utf-8", newline="\n") as pipeline:
        pipeline.write("  own:\n    cmd: git hash-object dvc.yaml > state/own\n")
        pipeline.write("    deps: [state/data]\n    outs: [state/own]\n")
    params = copy / "params.yaml"
    committed = params.read_text(encoding="utf-8")
    params.write_text(committed.replace("params: {}", "params: {max_iter: 30}"), encoding="utf-8")
    assert run("train", "--allow-dirty").status == 0
    (run_id,) = runs()
    assert Tracking(load_settings()).run(run_id).tags["git.uncommitted"] == "true"
    assert git(copy, "diff", "--cached") == ""
    params.write_text(committed, encoding="utf-8")
    stages.write_text(text, encoding="utf-8", newline="\n")
    (copy / "bike_demand" / "data" / "new.py").unlink()
    git(copy, "checkout", "dvc.yaml")
    output = run("reproduce", run_id)
    assert (output.status, output.err) == (0, "")
    assert "identical: model" in output.out
    restored = copy / "state" / "reproduced" / run_id
    assert (restored / "trained-here").exists()  # not only fetched from the cache
    assert (restored / "state" / "own").exists()  # by a stage of its own
    assert (restored / "bike_demand" / "data" / "new.py").exists()
    assert "max_iter: 30" in (restored / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("copy")
def test_what_differs_from_the_record_is_reported_in_one_line(run: Run) -> None:
    assert run("train").status == 0
    tracking = Tracking(load_settings())
    (version,) = tracking.versions()
    honest = tracking.run(version.run_id)
    report = json.loads(Path("state/run/report.json").read_text(encoding="utf-8"))
    forged = tracking.log_run(
        "forged",
        params={},
        metrics={**honest.metrics, "holdout_error": 1.0},
        dataset=honest.dataset or Dataset("", "", 0, "", ""),
        tags=honest.tags,
        artifacts=[Path("dvc.lock")],
        model=Path("state/run/holdout"),
    )
    output = run("reproduce", forged.run_id)
    assert output.status == 1
    assert output.err.count("\n") == 1
    assert f"model {report['refit']['digest']} instead of {report['holdout']['digest']}" in output.err
    assert f"holdout_error {honest.metrics['holdout_error']} instead of 1.0" in output.err
    assert "error_of_mean" not in output.err


@pytest.mark.slow
def test_a_run_whose_data_are_gone_is_reported_and_leaves_nothing(copy: Path, run: Run) -> None:
    assert run("train").status == 0
    (run_id,) = runs()
    shutil.rmtree(copy / "state" / "dvc-cache")
    shutil.rmtree(copy / "state" / "dvc-remote")
    output = run("reproduce", run_id).refusal()
    assert data_digest() in output
    assert str(copy / "state" / "dvc-remote") in output
    assert not (copy / "state" / "reproduced").exists()
    assert not list((copy / "state").glob(".reproduce*"))


@pytest.mark.slow
def test_a_run_of_a_commit_that_is_not_here_is_reported(copy: Path, run: Run) -> None:
    assert run("train").status == 0
    (run_id,) = runs()
    shutil.rmtree(copy / ".git")
    make_git_anew(copy)
    output = run("reproduce", run_id).refusal()
    assert "is not in this repository" in output


def make_git_anew(folder: Path) -> None:
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "README.md").write_text("Another history\n", encoding="utf-8")
    commit(folder)


@pytest.mark.parametrize("wanted", ["0" * 32, "7"])
@pytest.mark.usefixtures("copy")
def test_an_unknown_run_or_version_is_reported(
    run: Run, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = run("reproduce", wanted).refusal()
    assert f"{wanted}: not found, no run logged yet" in output
    variable = "BIKE_TRAINING__HALF_LIFE_DAYS"  # would change what is trained
    monkeypatch.setenv(variable, "10")
    assert f"{variable} is set" in run("reproduce", wanted).refusal()
