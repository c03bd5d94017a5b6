"""The daily history: errors and distributions of inputs and predictions, kept forever, by model version.

The log has every prediction; this has one row per day and version, so that years can be read at once.
"""

import math
import statistics
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
    NUMERIC_FIELDS,
    PROBLEM,
    TIME,
    Inputs,
    RowId,
    constant_baseline,
    row_id,
    target_of,
    time_of,
)
from bike_demand.core.problem import MIN_TIME
from bike_demand.store.database import Database
from bike_demand.store.tables import Day, DriftReport, LoggedPrediction, Outcome

ALL = 0  # the `version` of rows about all versions together


@dataclass(frozen=True)
class Answer:
    """A logged prediction: the row as sent, and the predictions of the shown and the other version."""

    asked: Inputs
    prediction: float
    version: int
    other_prediction: float | None = None
    other_version: int | None = None

    def of(self, version: int) -> float | None:
        """The prediction of a version, shown or not; None if it made none."""
        if self.version == version:
            return self.prediction
        return self.other_prediction if self.other_version == version else None


def days(database: Database, since: date, until: date, version: int | None = None) -> list[Day]:
    """The stored days from `since` to before `until`, ascending, of a version or of all together (None).

    Days without predictions are missing.
    """
    return database.all(
        select(Day)
        .where(Day.day >= since, Day.day < until, Day.version == (version or ALL))
        .order_by(Day.day)
    )


def last_day(database: Database) -> date | None:
    """The newest stored day; None if there is none yet."""
    with database.reading() as connection:
        newest: date | None = connection.scalar(select(func.max(Day.day)))
    return newest


def first_time(database: Database) -> datetime | None:
    """The earliest predicted event time; None if there is none."""
    with database.reading() as connection:
        moment: datetime | None = connection.scalar(
            select(func.min(LoggedPrediction.event_time)).where(LoggedPrediction.event_time >= MIN_TIME)
        )
    return moment


def answers(database: Database, since: datetime, until: datetime) -> list[Answer]:
    """All logged predictions from `since` to before `until`, by event time, then in the order of logging."""
    names = ("event_time", "inputs", "prediction", "version", "other_prediction", "other_version")
    statement = (
        select(*(getattr(LoggedPrediction, name) for name in names))
        .where(LoggedPrediction.event_time >= since, LoggedPrediction.event_time < until)
        .order_by(LoggedPrediction.event_time, LoggedPrediction.made_at, LoggedPrediction.id)
    )
    with database.reading() as connection:
        rows = connection.execute(statement).mappings().all()
    return [
        Answer(
            # Validated when they were requested.
            Inputs.model_construct(**{TIME: row["event_time"]}, **row["inputs"]),
            row["prediction"],
            row["version"],
            row["other_prediction"],
            row["other_version"],
        )
        for row in rows
    ]


def first_answers(given: Iterable[Answer]) -> list[Answer]:
    """The first prediction for each row, which is the one that counts."""
    found: dict[RowId, Answer] = {}
    for each in given:
        found.setdefault(row_id(each.asked), each)
    return list(found.values())


def labels(database: Database, since: datetime, until: datetime) -> dict[RowId, float]:
    """The labels reported to the service, from `since` to before `until`."""
    statement = select(Outcome.event_time, Outcome.key, Outcome.label).where(
        Outcome.event_time >= since, Outcome.event_time < until
    )
    with database.reading() as connection:
        return {(moment, key): label for moment, key, label in connection.execute(statement)}


def keep(
    database: Database,
    given: Sequence[Answer],
    known: Mapping[RowId, float],
    quality: Mapping[date, Mapping[str, Mapping[str, int]]],
) -> None:
    """Store the days of these predictions, replacing earlier rows. All predictions of each day must be given.

    `known` has their labels, and the earlier ones that the baseline needs.
    """
    targets = {row: target_of(label) for row, label in known.items()}
    baseline = _baseline(targets)
    by_day: dict[date, list[Answer]] = {}
    for each in given:
        by_day.setdefault(time_of(each.asked).date(), []).append(each)
    rows: list[dict[str, Any]] = []
    for day, its in by_day.items():
        first = first_answers(its)
        features = {name: summary([getattr(each.asked, name) for each in first]) for name in NUMERIC_FIELDS}
        shown = [(row_id(each.asked), each.prediction) for each in first]
        rows.append(
            _sums(shown, targets, baseline)
            | {"day": day, "version": ALL, "features": features, "quality": quality.get(day, {})}
        )
        answering = {each.version for each in its} | {each.other_version or ALL for each in its}
        for version in sorted(answering - {ALL}):
            message: dict[RowId, float] = {}
            for each in its:
                prediction = each.of(version)
                if prediction is not None:
                    message.setdefault(row_id(each.asked), prediction)
            if message:
                rows.append(
                    _sums(list(message.items()), targets, baseline)
                    | {"day": day, "version": version, "features": {}, "quality": {}}
                )
    with database.writing() as session:
        for row in rows:
            session.merge(Day(**row))


def keep_drift(database: Database, at: datetime, content: Mapping[str, Any]) -> None:
    """Store the result of the drift tests at a time of the feed."""
    with database.writing() as session:
        session.merge(DriftReport(at, dict(content)))


def drifts(database: Database, limit: int = 1) -> list[tuple[datetime, dict[str, Any]]]:
    """The results of the latest drift tests, newest first."""
    found = database.all(select(DriftReport).order_by(DriftReport.at.desc()).limit(limit))
    return [(each.at, each.content) for each in found]


def summary(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, spread and quantiles of the known values, and the number of unknown ones."""
    known = sorted(float(each) for each in values if each is not None)
    found: dict[str, float | None] = {"nulls": len(values) - len(known)}
    if not known:
        return found | dict.fromkeys(("mean", "sd", "min", "p10", "p50", "p90", "max"))

    def quantile(share: float) -> float:
        return known[min(len(known) - 1, math.floor(share * len(known)))]

    mean = statistics.fmean(known)
    return found | {
        "mean": round(mean, 4),
        "sd": round(math.sqrt(statistics.fmean([(each - mean) ** 2 for each in known])), 4),
        "min": known[0],
        "p10": quantile(0.1),
        "p50": quantile(0.5),
        "p90": quantile(0.9),
        "max": known[-1],
    }


def _baseline(targets: Mapping[RowId, float]) -> Callable[[RowId], float | None]:
    """A function that returns the baseline's prediction for a row, given known targets; None if unknown."""
    if (season := PROBLEM.season) is not None:
        return lambda row: targets.get((row[0] - season, row[1]))
    order = sorted(targets)
    days = [moment.date() for moment, _ in order]
    values = np.array([targets[row] for row in order], dtype=np.float64)

    @cache
    def until(day: date) -> float | None:
        """The constant baseline from the targets known at the start of a day."""
        count = bisect_left(days, day - DELAY)
        return constant_baseline(values[:count]) if count else None

    return lambda row: until(row[0].date())


def _sums(
    message: Sequence[tuple[RowId, float]],
    targets: Mapping[RowId, float],
    baseline: Callable[[RowId], float | None],
) -> dict[str, Any]:
    pairs = [(prediction, targets[row], baseline(row)) for row, prediction in message if row in targets]
    paired = [(prediction, target, before) for prediction, target, before in pairs if before is not None]
    return {
        "rows": len(message),
        "known": len(pairs),
        "error": math.fsum(PROBLEM.loss.per_row(prediction, target) for prediction, target, _ in pairs),
        "bias": math.fsum(prediction - target for prediction, target, _ in pairs),
        "target": float(sum(target for _, target, _ in pairs)),
        "baseline_rows": len(paired),
        "baseline_error": float(sum(PROBLEM.loss.per_row(before, target) for _, target, before in paired)),
        "paired_error": math.fsum(PROBLEM.loss.per_row(ours, target) for ours, target, _ in paired),
        "predictions": summary([prediction for _, prediction in message]),
    }
