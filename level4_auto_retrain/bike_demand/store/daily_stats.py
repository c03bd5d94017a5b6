"""Daily statistics: errors and data quality, kept forever, by model version.

The log has every prediction; this has one row per day and version, so that years can be read at once.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import func, select

from bike_demand.core.current import (
    DELAY,
    PROBLEM,
    TIME,
    Inputs,
    RowId,
    constant_baseline,
    row_id,
    target_of,
    time_of,
)
from bike_demand.store.database import Database
from bike_demand.store.tables import DailyStats, DriftReport, LoggedPrediction, Outcome

ALL_VERSIONS = 0  # the `version` of rows about all versions together


@dataclass(frozen=True)
class PredictionRecord:
    """A logged prediction: `inputs` as sent, and the predictions of the shown and the other version."""

    inputs: Inputs
    prediction: float
    version: int
    other_prediction: float | None = None
    other_version: int | None = None

    def prediction_of(self, version: int) -> float | None:
        """The prediction of a version, shown or not; None if it made none. Of all together: the shown one."""
        if version in (self.version, ALL_VERSIONS):
            return self.prediction
        return self.other_prediction if self.other_version == version else None


def read_days(database: Database, since: date, until: date, version: int | None = None) -> list[DailyStats]:
    """The stored days from `since` to before `until`, ascending, of a version or of all together (None).

    Days without predictions are missing.
    """
    return database.all(
        select(DailyStats)
        .where(
            DailyStats.day >= since, DailyStats.day < until, DailyStats.version == (version or ALL_VERSIONS)
        )
        .order_by(DailyStats.day)
    )


def last_day(database: Database) -> date | None:
    """The newest stored day; None if there is none yet."""
    return database.one(select(func.max(DailyStats.day)))


def logged_predictions(database: Database, since: datetime, until: datetime) -> list[PredictionRecord]:
    """All logged predictions from `since` to before `until`, by event time, then in the order of logging."""
    names = ("event_time", "inputs", "prediction", "version", "other_prediction", "other_version")
    statement = (
        select(*(getattr(LoggedPrediction, name) for name in names))
        .where(LoggedPrediction.event_time >= since, LoggedPrediction.event_time < until)
        .order_by(LoggedPrediction.event_time, LoggedPrediction.made_at, LoggedPrediction.id)
    )
    with database.reading() as connection:
        rows = connection.execute(statement).all()
    return [  # validated when they were requested
        PredictionRecord(Inputs.model_construct(**{TIME: moment}, **inputs), *rest)
        for moment, inputs, *rest in rows
    ]


def first_predictions(logged: Iterable[PredictionRecord]) -> list[PredictionRecord]:
    """The first prediction for each row, which is the one that counts."""
    found: dict[RowId, PredictionRecord] = {}
    for each in logged:
        found.setdefault(row_id(each.inputs), each)
    return list(found.values())


def labels(database: Database, since: datetime, until: datetime) -> dict[RowId, float]:
    """The labels reported to the service, from `since` to before `until`."""
    statement = select(Outcome.event_time, Outcome.key, Outcome.label).where(
        Outcome.event_time >= since, Outcome.event_time < until
    )
    with database.reading() as connection:
        return {(moment, key): label for moment, key, label in connection.execute(statement)}


def store_days(
    database: Database,
    logged: Sequence[PredictionRecord],
    known: Mapping[RowId, float],
    quality: Mapping[date, Mapping[str, Mapping[str, int]]],
) -> None:
    """Store the days of these predictions, replacing earlier rows. `logged` has all predictions of each day.

    `known` has their labels, and the earlier ones that the baseline needs.
    """
    targets = {row: target_of(label) for row, label in known.items()}
    baseline = _baseline(targets)
    by_day: dict[date, list[PredictionRecord]] = {}
    for each in logged:
        by_day.setdefault(time_of(each.inputs).date(), []).append(each)
    rows: list[dict[str, Any]] = []
    for day, day_predictions in by_day.items():
        versions = {number for each in day_predictions for number in (each.version, each.other_version)}
        for version in (ALL_VERSIONS, *filter(None, versions)):
            predictions: dict[RowId, float] = {}
            for each in day_predictions:
                prediction = each.prediction_of(version)
                if prediction is not None:
                    predictions.setdefault(row_id(each.inputs), prediction)
            found = {"day": day, "version": version, "quality": {} if version else quality.get(day, {})}
            if predictions:
                rows.append(_sums(list(predictions.items()), targets, baseline) | found)
    with database.writing(DailyStats) as session:
        for row in rows:
            session.merge(DailyStats(**row))


def store_drift_report(database: Database, at: datetime, content: Mapping[str, Any]) -> None:
    """Store the result of the drift tests at a feed time."""
    with database.writing(DriftReport) as session:
        session.merge(DriftReport(at, dict(content)))


def latest_drift_report(database: Database) -> DriftReport | None:
    """The result of the latest drift tests; None if there is none yet."""
    return database.one(select(DriftReport).order_by(DriftReport.at.desc()).limit(1))


def _baseline(targets: Mapping[RowId, float]) -> Callable[[RowId], float | None]:
    """A function that returns the baseline's prediction for a row, given known targets; None if unknown."""
    if (season := PROBLEM.season) is not None:
        return lambda row: targets.get((row[0] - season, row[1]))
    order = sorted(targets)
    days = [moment.date() for moment, _ in order]
    values = np.array([targets[row] for row in order], dtype=np.float64)

    @cache
    def constant_until(day: date) -> float | None:
        """The constant baseline from the targets known at the start of a day."""
        count = bisect_left(days, day - DELAY)
        return constant_baseline(values[:count]) if count else None

    return lambda row: constant_until(row[0].date())


def _sums(
    predictions: Sequence[tuple[RowId, float]],
    targets: Mapping[RowId, float],
    baseline: Callable[[RowId], float | None],
) -> dict[str, Any]:
    known = [(prediction, targets[row], baseline(row)) for row, prediction in predictions if row in targets]
    prediction, target, by_baseline = np.array(known, dtype=np.float64).reshape(-1, 3).T
    error, is_paired = PROBLEM.loss.per_row(prediction, target), ~np.isnan(by_baseline)
    return {
        "rows": len(predictions),
        "known": len(known),
        "error_sum": math.fsum(error),
        "bias_sum": math.fsum(prediction - target),
        "target_sum": math.fsum(target),
        "baseline_rows": int(is_paired.sum()),
        "baseline_error_sum": math.fsum(PROBLEM.loss.per_row(by_baseline, target)[is_paired]),
        "paired_error_sum": math.fsum(error[is_paired]),
    }
