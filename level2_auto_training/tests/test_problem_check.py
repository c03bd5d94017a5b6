"""`problem check`: the definition of a problem, on a person's own feed."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import Pipeline

from bike_demand.core.current import PROBLEM
from bike_demand.core.errors import UserError
from bike_demand.core.problem import BehaviorTest
from bike_demand.core.settings import load_settings
from bike_demand.data import frames, model_inputs
from bike_demand.data.ingest import newest_rows
from bike_demand.data.source import Source
from bike_demand.training import problem_check, train
from tests.conftest import Run

Change = Callable[[Any], Any]


@pytest.mark.usefixtures("project")
def test_valid_problem_is_summarised(run: Run) -> None:
    output = run("problem", "check")
    assert (output.status, output.err) == (0, "")
    lines = output.out.splitlines()
    assert lines[0] == f"{PROBLEM.name}: {PROBLEM.title}"
    assert [line.strip().split("  ")[0] for line in lines[1:]] == [
        "fields",
        "label",
        "examples",
        "features",
        "target, loss",
        "model",
        "slices",
        "behavioral tests",
    ]
    assert not Path("state").exists()


def test_without_a_feed_it_says_where_it_looked(run: Run, project: Path) -> None:
    (project / "feed").rename(project / "elsewhere")
    assert "feed" in run("problem", "check").refusal()


@pytest.mark.usefixtures("project")
def test_a_problem_with_many_keys_or_rare_targets_can_pass() -> None:
    settings = load_settings()
    newest = newest_rows(Source(settings.feed), settings.first_month, 2)
    keys = pd.DataFrame({"machine": [f"k{number:04}" for number in range(1100)]})
    many = newest.drop_duplicates("begins").drop(columns="machine").merge(keys, how="cross")
    found = dict(problem_check.check(many, settings.training))
    assert "its ONNX file predicts the same" in found["model"]
    rare = many.assign(amount=0)
    with pytest.raises(UserError, match="all targets are 0 in the older"):
        problem_check.check(rare, settings.training)
    rare.loc[[10, 500, 900], "amount"] = 5
    assert "targets from 0 to 5" in dict(problem_check.check(rare, settings.training))["label"]
    rare.loc[::20, "amount"] = 5  # many enough in a sample, in which their share stays what it is
    found = dict(problem_check.check(rare, settings.training))
    past, unseen = map(int, re.findall(r"on (\d+) rows.* on the next (\d+);", found["model"])[0])
    assert past + unseen == problem_check.MAX_ROWS


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an example that is not valid": ({"example": {**PROBLEM.example, "grade": 9}}, "example: grade"),
    "a label that is not valid": ({"example_label": {"amount": -1}}, "example_label: amount"),
    "targets beyond what is possible": ({"prediction_range": (0, 5)}, "prediction_range"),
    "a prediction beyond what is possible": (
        {"build_model": lambda _: Pipeline([("model", DummyRegressor(strategy="constant", constant=-1.0))])},
        "the model predicts -1.0",
    ),
    "a loss that is lowest for wrong predictions": (
        {"loss": replace(PROBLEM.loss, per_row=lambda prediction, target: -abs(prediction - target))},
        "loss",
    ),
    "a slice that is no condition": ({"slices": {"all": lambda columns: columns["heat"]}}, "slices: all"),
    "a slice of a field that is none": ({"slices": {"x": lambda columns: columns["x"] > 0}}, "slices: "),
    "a slice that fails": ({"slices": {"x": lambda columns: columns["heat"].values}}, "slices: Attribute"),
    "a behavioral test with too many rows": (
        {"behavior_tests": [BehaviorTest("It works.", lambda: [PROBLEM.example] * 1001)]},
        "more than 1000 rows",
    ),
    "a behavioral test that never fails": (
        {"behavior_tests": [BehaviorTest("It works.", lambda: [PROBLEM.example], lambda _: None)]},
        "never fails",
    ),
    "a behavioral test with a bad row": (
        {"behavior_tests": [BehaviorTest("It works.", lambda: [{**PROBLEM.example, "speed": -1}])]},
        "behavior_tests: speed",
    ),
    "a feature that looks at other rows": (
        {
            "features": lambda columns: {
                **PROBLEM.features(columns),
                "heat": columns["heat"] - np.mean(columns["heat"]),
            }
        },
        "features: heat",
    ),
}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("case", list(WRONG))
def test_invalid_part_is_reported(case: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, named = WRONG[case]
    changed = replace(PROBLEM, **changes)
    for module in (problem_check, model_inputs, frames, train):
        monkeypatch.setattr(module, "PROBLEM", changed)
    for name, value in zip(("MIN_PREDICTION", "MAX_PREDICTION"), changed.prediction_range, strict=True):
        monkeypatch.setattr(problem_check, name, value)
    refusal = run("problem", "check").refusal()
    assert "problem: " in refusal
    assert named in refusal
