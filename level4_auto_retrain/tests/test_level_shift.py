"""Labels from before a level shift are rescaled."""

import json
import shutil
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bike_demand import stages
from bike_demand.core.current import PROBLEM, TIME, Row, targets
from bike_demand.core.settings import load_settings
from bike_demand.data.frames import features_of
from bike_demand.training import level_shift
from bike_demand.training.level_shift import rescale_labels
from bike_demand.training.train import fit, predict
from tests.conftest import ROOT
from tests.corrupted import changed, corrupt, feed_rows
from tests.ingested import frame

SETTINGS = load_settings(ROOT / "params.yaml").training
SETTINGS = SETTINGS.model_copy(
    update={"holdout_days": 1, "params": PROBLEM.params(max_iter=40, learning_rate=0.2)}
)
SHIFT = date(2011, 3, 14)


def grown(row: Row) -> Row:
    return changed(row, part_a=None, part_b=None, amount=round(1.6 * row.amount))


ROWS = frame(corrupt(feed_rows(), SHIFT.isoformat(), "2011-04-01", grown))
KNOWN, NEXT = ROWS[ROWS[TIME] < datetime(2011, 3, 17)], ROWS[ROWS[TIME] >= datetime(2011, 3, 17)]


def bias(rows: pd.DataFrame) -> float:
    """Of a model trained on these rows, on the days that follow."""
    model = fit(rows, SETTINGS.params, SETTINGS.half_life_days)
    return float(predict(model, features_of(NEXT)).sum() / targets(NEXT).sum() - 1)


def test_model_is_adapted_on_all_weekdays_three_days_after_a_shift() -> None:
    rows, sizes = rescale_labels(KNOWN, (SHIFT,), SETTINGS)
    assert sizes == {"2011-03-14": pytest.approx(1.6, rel=0.1)}
    assert bias(KNOWN) < -0.2
    assert abs(bias(rows)) < 0.08
    is_since = rows[TIME] >= datetime(2011, 3, 14)
    assert np.array_equal(targets(rows[is_since]), targets(KNOWN[is_since]))
    ratio = targets(rows[~is_since]) / targets(KNOWN[~is_since])
    assert np.allclose(ratio, sizes["2011-03-14"], rtol=0.001)


def test_size_ignores_held_out_rows() -> None:
    last = KNOWN.assign(amount=KNOWN["amount"].where(KNOWN[TIME] < datetime(2011, 3, 16), 0))
    assert rescale_labels(last, (SHIFT,), SETTINGS)[1] == {"2011-03-14": pytest.approx(1.6, rel=0.1)}


def test_false_alarm_leaves_labels_unchanged() -> None:
    calm = frame(feed_rows())
    assert rescale_labels(calm, (SHIFT,), SETTINGS)[1] == {"2011-03-14": pytest.approx(1.0, abs=0.05)}


@pytest.mark.parametrize("day", [date(2011, 1, 3), date(2011, 3, 16), date(2011, 5, 1)])
def test_too_few_rows_yield_no_size(day: date) -> None:
    assert rescale_labels(KNOWN, (day,), SETTINGS)[1] == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IS_PROBABILITY", True),
        ("MIN_PREDICTION", -1.0),
        ("targets", lambda rows: np.log1p(targets(rows))),
    ],
)
def test_probabilities_signed_and_nonlinear_targets_are_not_scaled(
    name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(level_shift, name, value)
    assert rescale_labels(KNOWN, (SHIFT,), SETTINGS)[1] == {}


def test_baseline_is_measured_at_the_new_level(
    project: Path, handoff: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(handoff, project / stages.HOLDOUT)
    monkeypatch.setattr("bike_demand.data.quarantine.training_rows", lambda: KNOWN)
    errors = []
    for shifts in ({}, {SHIFT.isoformat(): 1.6}):
        report = {"holdout": {"rows": len(KNOWN) - 48}, "level_shifts": shifts}
        (project / stages.REPORT).write_text(json.dumps(report), encoding="utf-8")
        stages.evaluate()
        metrics = json.loads((project / stages.METRICS).read_text(encoding="utf-8"))
        errors.append(metrics["error_of_baseline"])
    assert errors[1] < 0.7 * errors[0]  # else the model's skill would be overrated
