"""A drafted problem goes all the way to predictions."""

import csv
import json
from pathlib import Path

import pytest

from tests.test_draft import churn_file, copied, run

__all__ = ["churn_file", "copied"]  # fixtures


@pytest.mark.slow
def test_a_drafted_model_is_trained_and_predicts_what_it_has_never_seen(
    copied: Path, churn_file: Path, tmp_path: Path
) -> None:
    run(
        copied,
        "problem",
        "draft",
        str(churn_file),
        "--label",
        "Churn",
        "--time",
        "Month",
        "--label-delay",
        "30d",
    )
    assert run(copied, "ingest").returncode == 0
    trained = run(copied, "train")
    assert (trained.returncode, trained.stderr) == (0, "")
    (copied / "state" / "handoff").rename(copied / "state" / "model")
    rows = tmp_path / "rows.csv"
    header = "month,Customer ID,Plan,calls,Charges €,Net,Paperless"  # names of the table or of the code
    rows.write_text(f"{header}\n2023-12-01,C-1,new,8,20.5,,true\n", encoding="utf-8")
    predicted = run(copied, "predict", str(rows), str(tmp_path / "out.csv"))
    assert (predicted.returncode, predicted.stderr) == (0, "")
    assert 0.5 < float(next(csv.DictReader((tmp_path / "out.csv").open()))["prediction"]) < 1
    assert json.loads((copied / "state" / "model" / "model.json").read_text())
