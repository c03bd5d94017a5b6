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
from bike_demand.monitoring.reports import CATEGORIES, LEAST, NUMBERS, PREDICTION, report_drift, table
from bike_demand.store.event_log import Signal
from bike_demand.store.tables import Kind
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Tracking, Version


def signal(content: Mapping[str, Any], now: datetime, settings: Drift) -> Signal | None:
    """The signal of the newest report, valid until the next one; None if the inputs did not drift."""
    moved = [name for name in content["moved"] if name != PREDICTION]
    if len(moved) < settings.columns:
        return None
    distances = content["distances"]
    far = [f"{name} moved by {distances[name]:.1f} standard deviations" for name in moved if name in NUMBERS]
    far += [
        f"{name} has other shares (distance {distances[name]:.2f})" for name in moved if name in CATEGORIES
    ]
    message = (
        f"The inputs of the week until {content['current'][1][:10]} differ from those that version"
        f" {content['version']} was trained on: {', '.join(far)}."
    )
    return Signal(Kind.DRIFT, "inputs", now, message, dict(content))


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
    """Compare recent inputs and predictions with the champion's training data and its predictions for them.

    The result, as JSON, has the distance of each column, and which of them failed Evidently's tests. `page`:
    write the report as a page even without drift. None if there are too few rows to compare.
    """
    if len(current) < LEAST or len(reference) < LEAST:
        return None
    then = table(reference, _predictions(tracking, champion, reference))
    distances, moved = report_drift(table(current, predictions), then, now, settings, page)
    return {
        "version": champion.number,
        "current": [moment.isoformat() for moment in time_range(current)],
        "reference": [moment.isoformat() for moment in time_range(reference)],
        "distances": distances,
        "moved": moved,
    }


def _predictions(tracking: Tracking, champion: Version, rows: pd.DataFrame) -> Floats:
    with TemporaryDirectory() as scratch:
        try:
            handoff = read_handoff(tracking.fetch(champion.run_id, HANDOFF_ARTIFACT, Path(scratch)))
        except UserError:  # its files are gone; the inputs can be compared anyway
            return np.full(len(rows), np.nan)
    return handoff.predict(input_columns(rows))
