"""Weekly reports on production in Evidently's workspace: the only module that imports Evidently.

Importing it takes seconds, so this module is imported only when a report is due.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from bike_demand.core.current import FIELDS, PROBLEM
from bike_demand.core.files import write_atomically
from bike_demand.core.problem import Floats
from bike_demand.core.settings import EVIDENTLY, IS_PROBABILITY, REPORTS, Drift, QualityRules

os.environ.setdefault("DO_NOT_TRACK", "true")  # read by Evidently on import

DRIFT_PAGE = REPORTS / "drift.html"
PROJECT = UUID("4d4c6f70-735f-4c61-8d64-647269667400")  # fixed, so that links remain valid
PREDICTION, TARGET, ERROR, BIAS = "prediction", "target", "error", "bias"
NUMBERS = tuple(name for name, each in FIELDS.items() if each.kind in ("number", "integer"))
CATEGORIES = tuple(name for name in FIELDS if name not in NUMBERS)
MAX_CATEGORIES = 50  # most distinct texts that are monitored as categories
CATEGORY_DISTANCE = 0.25  # Jensen-Shannon distance from which on categories count as drifted
MIN_ROWS = 120  # fewest rows on each side of a comparison


def write_drift_report(
    current: pd.DataFrame, reference: pd.DataFrame, now: datetime, settings: Drift, force_report: bool
) -> tuple[dict[str, float], list[str]]:
    """Test which inputs, and whether the predictions, are distributed differently from the reference.

    Both tables are made by `table`, and have at least MIN_ROWS rows. Returns the distance of each column
    (numbers: Wasserstein distance in standard deviations of the reference; categories: Jensen-Shannon
    distance), and the columns that failed their test. The report is written as a page if one failed, or if
    `force_report` is set.
    """
    from evidently.presets import DataDriftPreset

    def has_enough(name: str) -> bool:
        return bool(min(current[name].count(), reference[name].count()) >= MIN_ROWS)

    # Distances are in standard deviations of the reference, so that must not be zero.
    numbers = [name for name in (*NUMBERS, PREDICTION) if has_enough(name) and reference[name].nunique() > 1]
    categories = [
        name for name in CATEGORIES if has_enough(name) and reference[name].nunique() <= MAX_CATEGORIES
    ]
    if not numbers + categories:
        return {}, []
    preset = DataDriftPreset(
        columns=numbers + categories,
        drift_share=settings.min_fields / len(numbers + categories),
        num_method="wasserstein",
        num_threshold=settings.distance,
        cat_method="jensenshannon",
        cat_threshold=CATEGORY_DISTANCE,
    )
    columns = (numbers, categories)
    snapshot = _run("Data drift", [preset], columns, current, reference, now=now, include_tests=True)
    content = json.loads(snapshot.json())
    distances = {
        each["config"]["column"]: round(float(each["value"]), 3)
        for each in content["metrics"]
        if "column" in each["config"]
    }
    failed = [
        each["metric_config"]["params"].get("column")
        for each in content["tests"]
        if each["status"] != "SUCCESS"
    ]
    drifted = [name for name in distances if name in failed]
    if force_report or drifted:
        write_atomically(DRIFT_PAGE, snapshot.get_html_str(as_iframe=False).encode())
    return distances, drifted


def write_input_summary(requests: pd.DataFrame, now: datetime, rules: QualityRules) -> None:
    """Summarise the inputs of these requests (made by `table`), and test them by the quality rules."""
    from evidently.presets import DataSummaryPreset
    from evidently.presets.dataset_stats import ValueStatsTests
    from evidently.tests import gte, lte

    categories = [name for name in CATEGORIES if requests[name].nunique() <= MAX_CATEGORIES]
    tests = {}
    for name in (*NUMBERS, *categories):
        low, high = (rules.ranges or {}).get(name, (None, None))
        nulls = None if rules.nulls is None or name in rules.nulls.allowed else rules.nulls.share
        tests[name] = ValueStatsTests(
            missing_values_count_tests=[] if nulls is None else [lte(int(nulls * len(requests)))],
            min_tests=[] if low is None else [gte(low)],
            max_tests=[] if high is None else [lte(high)],
        )
    preset = DataSummaryPreset(columns=[*tests], column_tests=tests)
    _run("Data summary", [preset], (NUMBERS, categories), requests, now=now)


def write_model_quality(
    predictions: Floats, targets: Floats, now: datetime, max_error: float | None, max_bias: float
) -> None:
    """Report the model quality on predictions and targets, shape [rows], and test mean error (None: do not)
    and bias.
    """
    from evidently import BinaryClassification, Regression
    from evidently.metrics import MeanValue
    from evidently.presets import ClassificationPreset, RegressionPreset
    from evidently.tests import gte, lte

    rows = pd.DataFrame(
        {
            PREDICTION: predictions,
            TARGET: targets,
            ERROR: PROBLEM.loss.per_row(predictions, targets),
            BIAS: predictions - targets,
        }
    )
    metrics = [
        MeanValue(column=ERROR, tests=[] if max_error is None else [lte(max_error)]),
        MeanValue(column=BIAS, tests=[gte(-max_bias), lte(max_bias)]),
    ]
    task: dict[str, Any] = {}
    classes = set(np.unique(targets))
    if (not IS_PROBABILITY or not classes <= {0, 1}) and targets.any():  # percentages need a non-zero target
        metrics.append(RegressionPreset())
        task = {"regression": [Regression(target=TARGET, prediction=PREDICTION)]}
    elif len(classes) == 2:  # classification metrics need both classes
        metrics.append(ClassificationPreset())
        binary = BinaryClassification(target=TARGET, prediction_probas=PREDICTION, pos_label=1)
        rows, task = rows.astype({TARGET: "int64"}), {"classification": [binary]}
    _run("Model quality", metrics, ([PREDICTION, TARGET, ERROR, BIAS], []), rows, now=now, task=task)


def table(rows: pd.DataFrame, predictions: Floats) -> pd.DataFrame:
    """Inputs and predictions of rows as a table for reports, with named categories."""
    columns: dict[str, Any] = {name: rows[name].astype("float64") for name in NUMBERS}
    for name in CATEGORIES:
        field = FIELDS[name]
        names = field.categories or (("no", "yes") if field.kind == "boolean" else ())
        values = rows[name].astype("float64" if names else object)
        columns[name] = values.map(dict(enumerate(names, int(field.valid[0])))) if names else values
    return pd.DataFrame(columns).assign(**{PREDICTION: predictions}).reset_index(drop=True)


def _run(
    name: str,
    metrics: Sequence[Any],
    columns: tuple[Sequence[str], Sequence[str]],
    current: pd.DataFrame,
    reference: pd.DataFrame | None = None,
    *,
    now: datetime,
    include_tests: bool = False,
    task: Mapping[str, Any] | None = None,
) -> Any:
    """Run a report on numeric and categorical columns, and store its snapshot in the workspace."""
    from evidently import DataDefinition, Dataset, Report

    numbers, categories = columns
    definition = DataDefinition(
        numerical_columns=[*numbers], categorical_columns=[*categories], **(task or {})
    )
    datasets = [
        None
        if rows is None
        else Dataset.from_pandas(rows[[*numbers, *categories]], data_definition=definition)
        for rows in (current, reference)
    ]
    with warnings.catch_warnings(
        action="ignore"
    ):  # from Evidently's imports, and from scikit-learn for small samples
        snapshot = Report(metrics, include_tests=include_tests).run(
            *datasets, timestamp=now, name=f"{name}, week until {now:%Y-%m-%d}", tags=[name.lower()]
        )
    _workspace(EVIDENTLY.absolute()).add_run(PROJECT, snapshot, include_data=False)
    return snapshot


@cache
def _workspace(place: Path) -> Any:
    """The workspace in this folder, with its project. Opening reads all snapshots: once per process.

    Deletes files that were cut off by a kill.
    """
    from evidently.sdk.models import ProjectModel
    from evidently.ui.workspace import Workspace

    place.mkdir(parents=True, exist_ok=True)
    for file in place.rglob("*.json"):
        try:
            json.loads(file.read_bytes())
        except ValueError:  # a process was killed while writing it
            file.unlink()
    workspace = Workspace.create(str(place))
    project = workspace.get_project(PROJECT) or workspace.add_project(
        ProjectModel(id=PROJECT, name=PROBLEM.title, description=PROBLEM.description)
    )
    if not project.dashboard.model().panels:
        for panel in _panels():
            project.dashboard.add_panel(panel)
    return workspace


def _panels() -> Iterator[Any]:
    """The panels of the project's dashboard, fed from the weekly snapshots."""
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import bar_plot_panel, counter_panel, line_plot_panel

    loss, share = PROBLEM.loss, {"value_type": "share"}
    error = PanelMetric(metric="MeanValue", metric_labels={"column": ERROR}, legend=loss.unit)
    bias = PanelMetric(metric="MeanValue", metric_labels={"column": BIAS}, legend="prediction - target")
    drifted = PanelMetric(metric="DriftedColumnsCount", metric_labels=share, legend="share")
    distance = PanelMetric(metric="ValueDrift", legend="{{column}}")
    missing = PanelMetric(metric="DatasetMissingValueCount", metric_labels=share, legend="share")
    volume = PanelMetric(metric="RowCount", legend="requests")
    name = loss.name[:1].upper() + loss.name[1:]
    yield counter_panel(f"{name}, last week", [error], size="half")
    yield counter_panel("Requests, last week", [volume], size="half")
    yield line_plot_panel(name, [error], size="half")
    yield line_plot_panel("Bias", [bias], size="half")
    yield line_plot_panel("Drifted columns", [drifted], size="half")
    yield line_plot_panel("Drift score by column", [distance], size="half")
    yield line_plot_panel("Missing values", [missing], size="half")
    yield bar_plot_panel("Requests", [volume], size="half")
