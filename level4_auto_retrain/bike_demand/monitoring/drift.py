"""Input drift: compares production with the champion's training data."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from bike_demand.core.errors import UserError
from bike_demand.core.problem import Floats
from bike_demand.core.settings import Drift
from bike_demand.data.frames import input_columns, time_range
from bike_demand.handoff import read_handoff
from bike_demand.monitoring import reports
from bike_demand.store.tables import Signal, SignalKind
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Tracking, Version


def drift_signal(content: Mapping[str, Any], now: datetime, settings: Drift) -> Signal | None:
    """The signal of the newest report, valid until the next one; None if the inputs did not drift."""
    drifted = [name for name in content["drifted"] if name != reports.PREDICTION]
    if len(drifted) < settings.min_fields:
        return None
    distances = content["distances"]
    descriptions = [
        f"{name} shifted by {distances[name]:.1f} standard deviations"
        if name in reports.NUMBERS
        else f"category shares of {name} changed (Jensen-Shannon distance {distances[name]:.2f})"
        for name in drifted
    ]
    message = (
        f"The inputs of the week until {content['current'][1][:10]} differ from those that version"
        f" {content['version']} was trained on: {', '.join(descriptions)}."
    )
    return Signal(SignalKind.DRIFT, "inputs", now, now, message, dict(content))


def reference_window(tracking: Tracking, champion: Version, days: int) -> tuple[datetime, datetime] | None:
    """The last days of the champion's training data; None if unknown."""
    try:
        dataset = tracking.run(champion.run_id).dataset
    except UserError:  # the run was deleted
        return None
    if dataset is None:
        return None
    last = datetime.fromisoformat(dataset.last)
    return last - timedelta(days=days), last


def make_drift_report(
    tracking: Tracking,
    champion: Version,
    current: pd.DataFrame,
    predictions: Floats,
    reference: pd.DataFrame,
    now: datetime,
    settings: Drift,
    force_report: bool,
) -> dict[str, Any] | None:
    """Compare recent inputs and predictions with the champion's training data and its predictions for them.

    `current` and `reference` are tables of input rows; `predictions` has the shape [len(current)].

    The result, as JSON, has the distance of each column, and which of them failed Evidently's tests.
    `force_report`: write the report as a page even without drift. None if there are too few rows to compare.
    """
    if len(current) < reports.MIN_ROWS or len(reference) < reports.MIN_ROWS:
        return None
    reference_table = reports.table(reference, _predictions(tracking, champion, reference))
    distances, drifted = reports.write_drift_report(
        reports.table(current, predictions), reference_table, now, settings, force_report
    )
    return {
        "version": champion.number,
        "current": [moment.isoformat() for moment in time_range(current)],
        "reference": [moment.isoformat() for moment in time_range(reference)],
        "distances": distances,
        "drifted": drifted,
    }


def _predictions(tracking: Tracking, champion: Version, rows: pd.DataFrame) -> Floats:
    with TemporaryDirectory() as scratch:
        try:
            handoff = read_handoff(tracking.fetch(champion.run_id, HANDOFF_ARTIFACT, Path(scratch)))
        except UserError:  # its files are gone; the inputs can be compared anyway
            return np.full(len(rows), np.nan)
    return handoff.predict(input_columns(rows))
