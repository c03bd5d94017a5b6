"""Whether the world still looks as it did when the champion learned: the one module that imports Evidently.

Its import takes seconds, so it happens only when a report is due.
"""

import json
import os
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from bike_demand.core.current import FIELDS, NUMERIC, PROBLEM
from bike_demand.core.errors import UserError
from bike_demand.core.problem import Floats
from bike_demand.core.settings import EVIDENTLY, REPORTS, STATE, Drift
from bike_demand.data.frames import columns_of, period
from bike_demand.handoff import read_handoff
from bike_demand.store.event_log import Signal
from bike_demand.store.tables import Kind
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Tracking, Version

PAGE = REPORTS / "drift.html"
NUMBERS = (*(name for name, each in FIELDS.items() if each.kind in ("number", "integer")), "prediction")
CATEGORIES = tuple(name for name, each in FIELDS.items() if each.kind in ("category", "boolean", "text"))
MOST = 50  # different texts of the reference, up to which they are watched as categories
SHARES = 0.25  # the Jensen-Shannon distance from which on categories count as moved
LEAST = 120  # rows on each side
SNAPSHOTS = "snapshots"  # where a workspace keeps those of a project


def signal(content: Mapping[str, Any], now: datetime, settings: Drift) -> Signal | None:
    """The signal of the newest report, which counts until the next; None where the inputs did not drift."""
    moved = [name for name in content["moved"] if name != "prediction"]
    if len(moved) < settings.columns:
        return None
    distances = content["distances"]
    far = [f"{name} moved by {distances[name]:.1f} standard deviations" for name in moved if name in NUMBERS]
    far += [
        f"{name} has other shares (distance {distances[name]:.2f})" for name in moved if name in CATEGORIES
    ]
    says = (
        f"The inputs of the week until {content['current'][1][:10]} are not those that version"
        f" {content['version']} learned from: {', '.join(far)}."
    )
    return Signal(Kind.DRIFT, "inputs", now, says, dict(content))


def reference_window(tracking: Tracking, champion: Version, days: int) -> tuple[datetime, datetime] | None:
    """The last days that the champion learned from; None where nobody knows."""
    try:
        dataset = tracking.run(champion.run_id).dataset
    except UserError:  # it was deleted
        return None
    if dataset is None:
        return None
    last = datetime.fromisoformat(dataset.last)
    return last - timedelta(days=days), last


def report(
    tracking: Tracking,
    champion: Version,
    current: pd.DataFrame,
    predictions: Floats,
    reference: pd.DataFrame,
    now: datetime,
    settings: Drift,
    page: bool,
) -> dict[str, Any] | None:
    """Compare the inputs and predictions of now with what the champion learned from, and what it predicts of
    that.

    The result, as JSON has it, says how far each column has moved (numbers by the Wasserstein distance in
    standard deviations of the reference, categories by that of Jensen and Shannon), and which of them too
    far. The snapshot goes into Evidently's workspace, and as a page to state/reports where something has
    moved, or `page` asks for it. None where there are too few rows to compare.
    """
    if len(current) < LEAST or len(reference) < LEAST:
        return None
    then = _table(reference, _predictions(tracking, champion, reference))
    distances, moved = _compare(_table(current, predictions), then, now, settings, page)
    return {
        "version": champion.number,
        "current": [moment.isoformat() for moment in period(current)],
        "reference": [moment.isoformat() for moment in period(reference)],
        "distances": distances,
        "moved": moved,
    }


def _predictions(tracking: Tracking, champion: Version, rows: pd.DataFrame) -> Floats:
    with TemporaryDirectory() as scratch:
        try:
            handoff = read_handoff(tracking.fetch(champion.run_id, HANDOFF_ARTIFACT, Path(scratch)))
        except UserError:  # its files are gone; the inputs can be compared all the same
            return np.full(len(rows), np.nan)
    return handoff.predict(columns_of(rows))


def _table(rows: pd.DataFrame, predictions: Floats) -> pd.DataFrame:
    names = [name for name in (*NUMBERS, *CATEGORIES) if name != "prediction"]
    types = {name: "float64" if name in NUMERIC else "object" for name in names}
    return rows[names].astype(types).assign(prediction=predictions)


def _compare(
    current: pd.DataFrame, reference: pd.DataFrame, now: datetime, settings: Drift, page: bool
) -> tuple[dict[str, float], list[str]]:
    os.environ.setdefault("DO_NOT_TRACK", "true")
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    def has_enough(name: str) -> bool:
        return bool(min(current[name].count(), reference[name].count()) >= LEAST)

    # The distance is in standard deviations of the reference, so there has to be one.
    numbers = [name for name in NUMBERS if has_enough(name) and reference[name].nunique() > 1]
    categories = [name for name in CATEGORIES if has_enough(name) and reference[name].nunique() <= MOST]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)

    def dataset(table: pd.DataFrame) -> Dataset:
        frame = table[[*numbers, *categories]].reset_index(drop=True)
        return Dataset.from_pandas(frame, data_definition=definition)

    metrics = [ValueDrift(column=name, method="wasserstein", threshold=settings.distance) for name in numbers]
    metrics += [ValueDrift(column=name, method="jensenshannon", threshold=SHARES) for name in categories]
    snapshot = Report(metrics, include_tests=True).run(
        dataset(current), dataset(reference), timestamp=now, name=f"week until {now:%Y-%m-%d}"
    )
    content = json.loads(snapshot.json())
    distances = {each["config"]["column"]: round(float(each["value"]), 3) for each in content["metrics"]}
    moved = [
        each["metric_config"]["params"]["column"] for each in content["tests"] if each["status"] != "SUCCESS"
    ]
    _keep(snapshot)
    if page or moved:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        new = PAGE.with_name(f".{PAGE.name}.new")
        snapshot.save_html(str(new))
        new.replace(PAGE)
    return distances, moved


def _keep(snapshot: Any) -> None:
    """Into the workspace, which `evidently ui --workspace state/evidently` shows.

    A workspace reads all of its snapshots when it is opened. So one that has none takes this one in, and its
    file is put with the others.
    """
    from evidently.ui.workspace import Workspace

    project = _project()
    with TemporaryDirectory(dir=STATE) as scratch:
        place = Path(scratch, project.name)
        shutil.copytree(project, place, ignore=shutil.ignore_patterns(SNAPSHOTS))
        Workspace.create(scratch).add_run(project.name, snapshot, include_data=False)
        (project / SNAPSHOTS).mkdir(exist_ok=True)
        for file in (place / SNAPSHOTS).iterdir():
            file.replace(project / SNAPSHOTS / file.name)


def _project() -> Path:
    """The folder of the project in the workspace, which is made where there is none."""
    from evidently.ui.workspace import Workspace

    for path in EVIDENTLY.glob("*/metadata.json"):
        if json.loads(path.read_text(encoding="utf-8"))["name"] == PROBLEM.name:
            return path.parent
    return EVIDENTLY / str(Workspace.create(str(EVIDENTLY)).create_project(PROBLEM.name).id)
