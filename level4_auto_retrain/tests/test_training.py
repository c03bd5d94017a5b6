"""One training: the params, the model and its holdout model, and their export."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_info

from bike_demand import handoff as handoffs
from bike_demand import stages
from bike_demand.core.errors import UserError
from bike_demand.core.settings import DATA, RUN, load_settings
from bike_demand.data.frames import features_of, input_columns
from bike_demand.data.ingested import read_rows
from bike_demand.data.model_inputs import FEATURES, NUMERIC_FEATURES
from bike_demand.serving.onnx_model import load_model
from bike_demand.training import export, train
from bike_demand.training.export import golden_rows
from bike_demand.training.train import fit, one_thread, predict, recency_weights
from tests.conftest import Run
from tests.feedmaker import month_lines, write_month
from tests.toy import PROBLEM, Params, build_model
from tests.tree import contents

PARAMS = Params()

Stage = Callable[[str], tuple[int, str]]


@pytest.fixture
def stage(capsys: pytest.CaptureFixture[str]) -> Stage:
    """Runs a stage of dvc.yaml in the current folder; returns its exit status and stderr."""

    def call(name: str) -> tuple[int, str]:
        status = stages.main([name])
        return status, capsys.readouterr().err

    return call


def refusal(stage: Stage) -> str:
    """The one line of a training that is refused."""
    status, output = stage("train")
    assert status == 1
    assert output.startswith("error: ")
    assert output.count("\n") == 1
    return output


def test_empty_params_mean_the_models_defaults(project: Path) -> None:
    assert load_settings(project / "params.yaml").training.params == PARAMS


def test_a_row_weighs_half_for_each_half_life_before_the_newest() -> None:
    newest = datetime(2011, 3, 31)
    stamps = [newest - timedelta(days=days) for days in (60, 30, 15, 0)]
    np.testing.assert_allclose(
        recency_weights(np.array(stamps, dtype="datetime64[s]"), 30), [0.25, 0.5, 0.5**0.5, 1]
    )


@pytest.mark.slow
def test_fit_applies_recency_weights(project: Path, run: Run) -> None:
    run("ingest")
    rows = read_rows(project / DATA)
    X, y = features_of(rows), rows["amount"]
    age = (rows["begins"].max() - rows["begins"]) / timedelta(days=1)
    with one_thread():
        expected = build_model(PARAMS).fit(X, y, model__sample_weight=0.5 ** (age / 30)).predict(X)
        np.testing.assert_array_equal(fit(rows, PARAMS, 30).predict(X), expected)


@pytest.mark.slow
def test_without_a_half_life_all_rows_weigh_the_same(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ingest")
    rows = read_rows(project / DATA)
    X = features_of(rows)
    with one_thread():
        expected = build_model(PARAMS).fit(X, rows["amount"]).predict(X)
    np.testing.assert_array_equal(fit(rows, PARAMS, None).predict(X), expected)
    unweighted = replace(PROBLEM, build_model=lambda _: KNeighborsRegressor())
    monkeypatch.setattr(train, "PROBLEM", unweighted)
    with pytest.raises(UserError, match=r"sample_weight.*; set training.half_life_days"):
        fit(rows, PARAMS, 30)


def test_training_keeps_to_one_thread() -> None:
    with one_thread():
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "openmp"]
        assert pools
        assert {pool["num_threads"] for pool in pools} == {1}


def test_training_writes_whole_handoffs_of_the_model_and_its_holdout(
    project: Path, run: Run, stage: Stage
) -> None:
    run("ingest")
    assert stage("train") == (0, "")
    report = json.loads((RUN / "report.json").read_text(encoding="utf-8"))
    for kind, last in (("refit", "2011-03-31T00:00:00"), ("holdout", "2011-03-24T00:00:00")):
        folder = RUN / kind
        assert sorted(contents(folder)) == ["SHA256SUMS", "golden.json", "model.json", "model.onnx"]
        manifest = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        assert manifest["version"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()[:12]
        assert report[kind]["digest"] == manifest["version"]
        assert report[kind]["last"] == last
        assert [each["name"] for each in manifest["inputs"]] == list(FEATURES)
        assert manifest["inputs"][FEATURES.index("heat")] == {
            "name": "heat",
            "type": "float32",
            "unit": "degrees C",
            "min": -90,
            "max": 150,
            "nullable": False,
        }
        assert manifest["output"]["unit"] == "pieces"
    rows = read_rows(project / DATA)
    assert report["holdout"]["rows"] + report["held_out"]["rows"] == report["refit"]["rows"] == len(rows)


def test_the_holdout_model_is_the_same_without_the_last_days(project: Path, run: Run, stage: Stage) -> None:
    run("ingest")
    stage("train")
    holdout = contents(project / RUN / "holdout")
    run("ingest", "--as-of", "2011-03-25")
    stage("train")
    # Weights are relative to the newest row that is learned from, so both are the same model.
    assert contents(project / RUN / "refit") == holdout


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_checksums_are_what_sha256sum_reads(handoff: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=handoff, check=True)


@pytest.mark.usefixtures("project")
def test_the_same_data_give_the_same_bytes(run: Run, stage: Stage, handoff: Path) -> None:
    run("ingest")
    stage("train")
    assert contents(RUN / "refit") == contents(handoff)


# ---- what is refused


def test_training_without_data_says_to_ingest_first(project: Path, stage: Stage) -> None:
    assert "run `python -m bike_demand ingest` first" in refusal(stage)
    assert not (project / "state").exists()


@pytest.mark.parametrize("date", ["2011-01-02", "2011-01-27"])
def test_too_few_rows_are_rejected(project: Path, run: Run, stage: Stage, date: str) -> None:
    run("ingest", "--as-of", date)
    assert "are required" in refusal(stage)
    assert not (project / RUN).exists()


def test_a_feed_whose_label_is_always_0_is_rejected(project: Path, run: Run, stage: Stage) -> None:
    for path in (project / "feed").glob("*.csv"):
        lines = [",".join([*line.split(",")[:-3], "0", "0", "0"]) for line in month_lines(path.stem)]
        write_month(path, lines)
    run("ingest")
    assert "all targets of `amount`" in refusal(stage)


@pytest.mark.usefixtures("project")
def test_damaged_month_is_rejected(run: Run, stage: Stage) -> None:
    run("ingest")
    path = DATA / "2011-02.parquet"
    path.write_bytes(path.read_bytes()[:-4])
    assert "2011-02.parquet" in refusal(stage)
    assert not RUN.exists()


@pytest.mark.parametrize("name", [".git", "notes.txt", "params.yaml"])
def test_a_folder_that_is_no_handoff_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=f"contains {name}"):
        handoffs.write_handoff(tmp_path, b"model", ())
    assert contents(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize("name", [".DS_Store", "._model.onnx", "Thumbs.db"])
def test_files_of_the_system_do_not_stop_a_handoff(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).touch()
    handoffs.write_handoff(tmp_path / "out", b"model", ())
    assert contents(tmp_path / "out")["model.onnx"] == b"model"


def test_a_file_in_the_place_of_the_handoff_is_not_replaced(project: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        handoffs.write_handoff(project / "params.yaml", b"model", ())


def test_an_unknown_stage_is_reported(stage: Stage) -> None:
    status, output = stage("fly")
    assert status == 2
    assert output == "error: give one of validate, train, evaluate\n"


# ---- the export


def test_the_export_predicts_like_scikit_learn_with_and_without_nulls(project: Path, run: Run) -> None:
    run("ingest")
    rows = read_rows(project / DATA)
    assert rows["moisture"].isna().any()
    pipeline = fit(rows, PARAMS, 30)
    X = features_of(rows)
    model = export.to_onnx(pipeline)
    assert export.check_parity(model, pipeline, X) < 0.01
    handoffs.write_handoff(project / "given", model, golden_rows(model, rows))
    given = load_model(project / "given").predict_columns(input_columns(rows))
    np.testing.assert_allclose(given, pipeline.predict(X), atol=0.01)


def test_the_export_of_a_classifier_predicts_the_probability_of_its_second_class(
    project: Path, run: Run
) -> None:
    run("ingest")
    rows = read_rows(project / DATA)
    X, many = features_of(rows), rows["amount"].to_numpy() > 100
    pipeline = build_model(PARAMS).set_params(model=HistGradientBoostingClassifier(max_iter=10))
    pipeline.fit(X, many)
    model = export.to_onnx(pipeline)
    assert export.check_parity(model, pipeline, X) < 1e-4
    probabilities = predict(pipeline, X)
    assert probabilities[many].mean() > 0.6 > 0.4 > probabilities[~many].mean()
    handoffs.write_handoff(project / "given", model, golden_rows(model, rows))
    given = load_model(project / "given").predict_columns(input_columns(rows))
    np.testing.assert_allclose(given, probabilities, atol=0.01)


def test_a_model_that_cannot_be_exported_is_rejected() -> None:
    X = np.random.default_rng(0).normal(size=(50, len(NUMERIC_FEATURES))).astype(np.float32)
    pipeline = Pipeline([("model", NoConverter())]).fit(X, X[:, 0])
    with pytest.raises(UserError, match="cannot be exported") as refused:
        export.to_onnx(pipeline)
    assert "NoConverter" in str(refused.value)
    assert "\n" not in str(refused.value)


class NoConverter(LinearRegression):  # type: ignore[misc]
    """skl2onnx knows nothing of it."""


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_an_export_without_the_inverse_link_is_rejected(
    run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What skl2onnx alone makes of a Poisson model: the logarithm, not the amount."""
    run("ingest")
    other, whole = Pipeline([("model", LinearRegression())]), export.single_output
    monkeypatch.setattr(export, "single_output", lambda model, _: whole(model, other))
    assert "the ONNX export does not match scikit-learn" in refusal(stage)
    assert not RUN.exists()


def test_an_export_that_differs_in_one_row_is_rejected(project: Path, run: Run) -> None:
    run("ingest")
    rows = read_rows(project / DATA)
    changed = rows.copy()
    changed.loc[changed.index[-1], "amount"] = 900
    pipeline, other = fit(rows, PARAMS, 30), fit(changed, PARAMS, 30)
    with pytest.raises(Exception, match="nothing was written"):
        export.check_parity(export.to_onnx(other), pipeline, features_of(rows))


def test_export_that_differs_only_for_nulls_is_rejected(project: Path, run: Run) -> None:
    run("ingest")
    rows = read_rows(project / DATA).dropna(subset="moisture")
    pipeline = fit(rows, PARAMS, 30)
    model = onnx.ModelProto.FromString(export.to_onnx(pipeline))
    (ways,) = [each for node in model.graph.node for each in node.attribute if "missing" in each.name]
    ways.ints[:] = [1 - way for way in ways.ints]
    with pytest.raises(Exception, match="nothing was written"):
        export.check_parity(model.SerializeToString(), pipeline, features_of(rows))
