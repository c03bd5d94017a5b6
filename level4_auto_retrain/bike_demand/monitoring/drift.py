"""Input drift, and the weekly reports: compares production with the champion's training data."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from bike_demand.core.current import LABEL_LAG, RowId, row_id, target_of, time_of
from bike_demand.core.errors import UserError
from bike_demand.core.problem import DAY, Floats
from bike_demand.core.settings import Drift, Settings
from bike_demand.data.frames import has_row_id, input_columns, time_range, to_frame
from bike_demand.data.quarantine import read_quarantine, without_quarantined
from bike_demand.handoff import read_handoff
from bike_demand.monitoring import reports
from bike_demand.monitoring import retraining_policy as policy
from bike_demand.store import daily_stats
from bike_demand.store.daily_stats import PredictionRecord
from bike_demand.store.database import Database
from bike_demand.store.ingested_rows import RESOLUTION, rows_between
from bike_demand.store.tables import DailyStats, Signal, SignalKind
from bike_demand.store.tracking import HANDOFF_ARTIFACT, Tracking, Version

WEEK = timedelta(days=7)


def drift_signal(
    settings: Settings,
    tracking: Tracking,
    database: Database,
    champion: Version,
    logged: Sequence[PredictionRecord],
    bad: Collection[RowId],
    labels: Mapping[RowId, float],
    days: Sequence[DailyStats],
    now: datetime,
    force_report: bool,
) -> Signal | None:
    """The signal of the newest drift report, which is made now if it is due; None if the inputs did not drift
    or the report is not of this champion or older than two periods.

    When it is due, so are the reports on data and model quality. `bad` are the logged rows that violate a
    rule. `force_report`: make it now, and write it as a page even without drift.
    """
    rule, content, age = settings.monitoring.drift, None, timedelta.max
    if (last := daily_stats.latest_drift_report(database)) is not None:
        age = now - last.at
        if last.content["version"] == champion.number and age < 2 * rule.every_days * DAY:
            content = last.content
    if age >= rule.every_days * DAY or force_report:
        week = [each for each in logged if time_of(each.inputs) >= now - WEEK]
        requested = to_frame([each.inputs for each in week])
        is_good = ~has_row_id(requested, bad)
        is_enough = is_good.sum() >= reports.MIN_ROWS
        learned = _learned_rows(tracking, champion, rule.reference_days) if is_enough else None
        if learned is not None:
            reference, predicted = learned
            predictions = np.array([each.prediction for each in week], dtype=np.float64)
            current = reports.table(requested, predictions)
            distances, drifted = reports.write_drift_report(
                current[is_good.to_numpy()], reports.table(reference, predicted), now, rule, force_report
            )
            content = {
                "version": champion.number,
                "current": [moment.isoformat() for moment in time_range(requested[is_good])],
                "reference": [moment.isoformat() for moment in time_range(reference)],
                "distances": distances,
                "drifted": drifted,
            }
            reports.write_input_summary(current, now, settings.quality)
            _report_model_quality(logged, labels, days, champion, now, settings)
            daily_stats.store_drift_report(database, now, content)
    return None if content is None else _signal(content, now, rule)


def _signal(content: Mapping[str, Any], now: datetime, settings: Drift) -> Signal | None:
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


def _learned_rows(tracking: Tracking, champion: Version, days: int) -> tuple[pd.DataFrame, Floats] | None:
    """The last days of the champion's training data, with its predictions; None if its run was deleted, or
    there are too few rows.
    """
    try:
        dataset = tracking.run(champion.run_id).dataset
        with TemporaryDirectory() as scratch:
            handoff = read_handoff(tracking.fetch(champion.run_id, HANDOFF_ARTIFACT, Path(scratch)))
    except UserError:
        return None
    if dataset is None:
        return None
    last = datetime.fromisoformat(dataset.last)
    rows = without_quarantined(rows_between(last - days * DAY, last + RESOLUTION), read_quarantine())
    return None if len(rows) < reports.MIN_ROWS else (rows, handoff.predict(input_columns(rows)))


def _report_model_quality(
    logged: Sequence[PredictionRecord],
    labels: Mapping[RowId, float],
    days: Sequence[DailyStats],
    champion: Version,
    now: datetime,
    settings: Settings,
) -> None:
    """Report on the newest week with known labels."""
    first, last = now - LABEL_LAG - WEEK, now - LABEL_LAG
    week = [each for each in logged if first <= time_of(each.inputs) < last]
    pairs = [
        (each.prediction, target_of(labels[row])) for each in week if (row := row_id(each.inputs)) in labels
    ]
    if pairs:
        past = [day for day in days if first.date() <= day.day < last.date()]
        limits = policy.limits(past, policy.reference_of(champion, "skill"), settings.trigger)
        predictions, targets = np.array(pairs, dtype=np.float64).T
        reports.write_model_quality(predictions, targets, now, *limits)
