"""Rows of another kind: events at any time, distinguished by a key, whose labels (yes or no) are known late.

The problem is chosen when the package is imported, so what is done with it runs in a process of its own.
"""

import json
import os
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.feedmaker import copy_params
from tests.orders.feed import COLUMNS, orders, publish

FIRST, NOW = date(2012, 1, 1), datetime(2012, 4, 1)
ROWS = list(orders(FIRST, NOW.date()))
READ = """
from bike_demand.core.settings import DATA
from bike_demand.data.ingested import read_rows
print(len(read_rows(DATA)))
"""
# Towns that a model has seen, and one that it has not: what it predicts, and what scikit-learn does.
PREDICT = """
import json
from pathlib import Path
from bike_demand.core.current import PROBLEM, Inputs
from bike_demand.core.settings import DATA, load_settings
from bike_demand.data.frames import features_of, to_frame
from bike_demand.data.ingested import read_labeled_rows
from bike_demand.handoff import read_handoff, write_handoff
from bike_demand.serving.onnx_model import load_model
from bike_demand.training.export import check_parity, to_onnx
from bike_demand.training.export import golden_rows
from bike_demand.training.train import fit, predict
rows = read_labeled_rows(DATA)
pipeline = fit(rows, PROBLEM.params(), None)
model = to_onnx(pipeline)
check_parity(model, pipeline, features_of(rows))
write_handoff(Path("handed"), model, golden_rows(model, rows))
inputs = [Inputs.model_validate_json(json.dumps(PROBLEM.example | {"town": town})) for town in ("ulm", "rom")]
types = [(each.name, each.type) for each in read_handoff(Path("handed")).manifest.inputs]
answers = load_model(Path("handed")).predict(inputs)
print(json.dumps([types, answers, predict(pipeline, features_of(to_frame(inputs))).tolist()]))
"""

RETIRED = """
from dataclasses import replace
from tests.orders import PROBLEM
PROBLEM = replace(PROBLEM, retired=("is_gift",))
"""
PREDICT_LATER = """
import json, os
os.environ["BIKE_PROBLEM"] = "retired"
from pathlib import Path
from bike_demand.core.current import PROBLEM, Inputs
from bike_demand.data.model_inputs import FEATURES
from bike_demand.serving.onnx_model import load_model
inputs = [Inputs.model_validate_json(json.dumps(PROBLEM.example))]
print(json.dumps([FEATURES, load_model(Path("handed")).predict(inputs)]))
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project that knows three months of orders; of the last of them no label is due."""
    copy_params(tmp_path)
    text = (tmp_path / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("2011-01", "2012-01"), encoding="utf-8")
    publish(tmp_path / "feed", ROWS, NOW)
    return tmp_path


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the project on orders."""
    return python(folder, "-m", "bike_demand", *arguments)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("BIKE_", "MLFLOW_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=env | {"BIKE_PROBLEM": "tests.orders", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def ingested_rows(folder: Path) -> pd.DataFrame:
    return pd.concat(pd.read_parquet(file) for file in sorted((folder / "state" / "data").glob("*.parquet")))


@pytest.mark.slow
def test_rows_with_equal_times_and_different_keys_round_trip(shop: Path) -> None:
    others = [row | {"customer": row["customer"] % 1000 + 1} for row in ROWS]
    rows = [row for pair in zip(ROWS, others, strict=True) for row in pair]
    publish(shop / "feed", rows, NOW)
    assert command(shop, "ingest").returncode == 0
    done = python(shop, "-c", READ)
    assert done.stdout.split() == [str(len(rows))], done.stderr


@pytest.mark.slow
def test_labels_not_yet_due_are_excluded(shop: Path) -> None:
    done = command(shop, "ingest")
    assert done.returncode == 0, done.stderr
    rows = ingested_rows(shop)
    assert len(rows) == len(ROWS)
    assert rows["returned"].notna().sum() == sum(row["ordered_at"] < datetime(2012, 3, 2) for row in ROWS)

    # With --as-of, labels that became known after that day are not there either.
    assert command(shop, "ingest", "--as-of", "2012-03-01").returncode == 0
    rows = ingested_rows(shop)
    assert rows["ordered_at"].max() < datetime(2012, 3, 1)
    assert rows.loc[rows["returned"].notna(), "ordered_at"].max() < datetime(2012, 1, 31)

    checked = command(shop, "problem", "check")
    assert checked.returncode == 0, checked.stderr
    assert "Brier score" in checked.stdout
    assert "bias_of_shares" in checked.stdout


@pytest.mark.slow
def test_two_orders_at_the_same_second_differ_by_their_customer(shop: Path) -> None:
    path = shop / "feed" / "2012-03.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    at, _, rest = lines[-1].split(",", 2)
    path.write_text("\n".join([*lines, f"{at},9999,{rest}"]) + "\n", encoding="utf-8")
    assert command(shop, "ingest").returncode == 0
    assert len(ingested_rows(shop)) == len(ROWS) + 1

    path.write_text("\n".join([*lines, lines[-1]]) + "\n", encoding="utf-8")
    refused = command(shop, "ingest")
    assert refused.returncode == 1
    assert f"line {len(lines) + 1}, column ordered_at" in refused.stderr
    assert len(ingested_rows(shop)) == len(ROWS) + 1


@pytest.mark.slow
def test_unseen_category_is_predicted(shop: Path) -> None:
    assert command(shop, "ingest").returncode == 0
    done = python(shop, "-c", PREDICT)
    assert done.returncode == 0, done.stderr
    types, predicted, expected = json.loads(done.stdout)
    assert types[-1] == ["town", "string"]
    assert {kind for _, kind in types[:-1]} == {"float32"}
    assert predicted == pytest.approx(expected, abs=1e-4)
    assert predicted[0] != predicted[1]


@pytest.mark.slow
def test_retired_feature_is_computed_for_old_models(shop: Path) -> None:
    assert command(shop, "ingest").returncode == 0
    _, predicted, _ = json.loads(python(shop, "-c", PREDICT).stdout)
    (shop / "retired.py").write_text(RETIRED, encoding="utf-8")
    done = python(shop, "-c", PREDICT_LATER)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["channel", "price", "town"], predicted[:1]]


def test_a_label_that_is_due_and_missing_is_rejected(shop: Path) -> None:
    path = shop / "feed" / "2012-01.csv"
    first, *others = path.read_text(encoding="utf-8").splitlines()[1:]
    path.write_text(
        "\n".join([",".join(COLUMNS), first.rpartition(",")[0] + ",", *others]) + "\n", encoding="utf-8"
    )
    refused = command(shop, "ingest")
    assert refused.returncode == 1
    assert "2012-01.csv, line 2, column returned: a value is missing" in refused.stderr
