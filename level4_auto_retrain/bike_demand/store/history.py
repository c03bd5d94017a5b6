"""How each day went: answers, their errors, what went in and came out; kept for ever, by model version.

The log has every answer; this has one row for each day and version, so that years can be read at once.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from bike_demand.core.current import NUMERIC, PROBLEM, TIME, Inputs, target_of, time_of
from bike_demand.core.problem import EARLIEST
from bike_demand.store.database import Database, upsert
from bike_demand.store.loop_tables import days as table
from bike_demand.store.loop_tables import drift
from bike_demand.store.tables import outcomes, predictions

WEEK = timedelta(days=7)
ALL = 0  # in the table, the version of all versions together

Summary = Mapping[str, float | None]


@dataclass(frozen=True)
class Answer:
    """A logged answer: what was asked, as it was asked, and what the shown and the other model said."""

    asked: Inputs
    prediction: float
    version: int
    other_prediction: float | None = None
    other_version: int | None = None

    def of(self, version: int) -> float | None:
        """What this version said, shown or not; None where it did not answer."""
        if self.version == version:
            return self.prediction
        return self.other_prediction if self.other_version == version else None


@dataclass(frozen=True)
class Day:
    """One day of one version, or of all together (`version` None): then what users were given, which is the
    first prediction for each event time. Errors, bias and target are sums over rows.

    Of `rows` predicted, the label of `known` is known. For `baseline_rows` of them that of the same time a
    week before is known too: predicting it would have been off by `baseline_error`, the model was by
    `paired_error`. `predictions` and each of `features`: mean, sd, min, p10, p50, p90, max, nulls (None: no
    value). `quality`: {field: {check: rows}} of what was wrong with what was asked.
    """

    day: date
    version: int | None
    rows: int
    known: int
    error: float
    bias: float
    target: float
    baseline_rows: int
    baseline_error: float
    paired_error: float
    predictions: Summary = field(default_factory=dict)
    features: Mapping[str, Summary] = field(default_factory=dict)
    quality: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def days(database: Database, since: date, until: date, version: int | None = None) -> list[Day]:
    """The kept days from `since` to before `until`, ascending, of a version or of all together (None).

    A day in which nothing was answered has none.
    """
    statement = (
        select(table)
        .where(table.c.day >= since, table.c.day < until, table.c.version == (version or ALL))
        .order_by(table.c.day)
    )
    with database.reading() as connection:
        rows = connection.execute(statement).mappings().all()
    return [Day(**{**row, "version": row["version"] or None}) for row in rows]


def last_day(database: Database) -> date | None:
    """The newest kept day; None: there is none yet."""
    with database.reading() as connection:
        newest: date | None = connection.scalar(select(func.max(table.c.day)))
    return newest


def first_time(database: Database) -> datetime | None:
    """The earliest event time that was predicted; None: nothing was."""
    with database.reading() as connection:
        moment: datetime | None = connection.scalar(
            select(func.min(predictions.c.event_time)).where(predictions.c.event_time >= EARLIEST)
        )
    return moment


def answers(database: Database, since: datetime, until: datetime) -> list[Answer]:
    """All answers from `since` to before `until`: by event time, and in the order they were given."""
    names = ("event_time", "inputs", "prediction", "version", "other_prediction", "other_version")
    statement = (
        select(*(predictions.c[name] for name in names))
        .where(predictions.c.event_time >= since, predictions.c.event_time < until)
        .order_by(predictions.c.event_time, predictions.c.made_at, predictions.c.id)
    )
    with database.reading() as connection:
        rows = connection.execute(statement).mappings().all()
    return [
        Answer(
            # They were validated when they were asked.
            Inputs.model_construct(**{TIME: row["event_time"]}, **row["inputs"]),
            row["prediction"],
            row["version"],
            row["other_prediction"],
            row["other_version"],
        )
        for row in rows
    ]


def first_answers(given: Iterable[Answer]) -> list[Answer]:
    """Of each event time the answer that was given first, which is the one that counts."""
    found: dict[datetime, Answer] = {}
    for each in given:
        found.setdefault(time_of(each.asked), each)
    return list(found.values())


def labels(database: Database, since: datetime, until: datetime) -> dict[datetime, float]:
    """The labels that were reported to the application, from `since` to before `until`."""
    statement = select(outcomes.c.event_time, outcomes.c.label).where(
        outcomes.c.event_time >= since, outcomes.c.event_time < until
    )
    with database.reading() as connection:
        return dict(connection.execute(statement).tuples().all())


def keep(
    database: Database,
    given: Sequence[Answer],
    known: Mapping[datetime, float],
    quality: Mapping[date, Mapping[str, Mapping[str, int]]],
) -> None:
    """Keep the days of these answers, all of each day, in the place of what was kept of them before.

    `known` are their labels and those of the week before.
    """
    by_day: dict[date, list[Answer]] = {}
    for each in given:
        by_day.setdefault(time_of(each.asked).date(), []).append(each)
    rows: list[dict[str, Any]] = []
    for day, its in by_day.items():
        first = first_answers(its)
        features = {name: summary([getattr(each.asked, name) for each in first]) for name in NUMERIC}
        shown = [(time_of(each.asked), each.prediction) for each in first]
        rows.append(
            _sums(shown, known)
            | {"day": day, "version": ALL, "features": features, "quality": quality.get(day, {})}
        )
        answering = {each.version for each in its} | {each.other_version or ALL for each in its}
        for version in sorted(answering - {ALL}):
            said: dict[datetime, float] = {}
            for each in its:
                prediction = each.of(version)
                if prediction is not None:
                    said.setdefault(time_of(each.asked), prediction)
            if said:
                rows.append(
                    _sums(list(said.items()), known)
                    | {"day": day, "version": version, "features": {}, "quality": {}}
                )
    with database.writing() as connection:
        upsert(database, connection, table, rows)


def keep_drift(database: Database, at: datetime, content: Mapping[str, Any]) -> None:
    """Keep what the drift tests found at a time of the feed."""
    with database.writing() as connection:
        upsert(database, connection, drift, [{"at": at, "content": dict(content)}])


def drifts(database: Database, limit: int = 1) -> list[tuple[datetime, dict[str, Any]]]:
    """What the latest drift tests found, newest first."""
    statement = select(drift.c.at, drift.c.content).order_by(drift.c.at.desc()).limit(limit)
    with database.reading() as connection:
        return [(row.at, row.content) for row in connection.execute(statement)]


def summary(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, spread and quantiles of what is there, and how many are not."""
    told = sorted(float(each) for each in values if each is not None)
    found: dict[str, float | None] = {"nulls": len(values) - len(told)}
    if not told:
        return found | dict.fromkeys(("mean", "sd", "min", "p10", "p50", "p90", "max"))

    def quantile(share: float) -> float:
        return told[min(len(told) - 1, math.floor(share * len(told)))]

    mean = statistics.fmean(told)
    return found | {
        "mean": round(mean, 4),
        "sd": round(math.sqrt(statistics.fmean([(each - mean) ** 2 for each in told])), 4),
        "min": told[0],
        "p10": quantile(0.1),
        "p50": quantile(0.5),
        "p90": quantile(0.9),
        "max": told[-1],
    }


def _sums(said: Sequence[tuple[datetime, float]], known: Mapping[datetime, float]) -> dict[str, Any]:
    pairs = [(prediction, target_of(known[moment]), moment) for moment, prediction in said if moment in known]
    paired = [(*each[:2], target_of(known[each[2] - WEEK])) for each in pairs if each[2] - WEEK in known]
    return {
        "rows": len(said),
        "known": len(pairs),
        "error": math.fsum(PROBLEM.loss.of(prediction, target) for prediction, target, _ in pairs),
        "bias": math.fsum(prediction - target for prediction, target, _ in pairs),
        "target": float(sum(target for _, target, _ in pairs)),
        "baseline_rows": len(paired),
        "baseline_error": float(sum(PROBLEM.loss.of(before, target) for _, target, before in paired)),
        "paired_error": math.fsum(PROBLEM.loss.of(prediction, target) for prediction, target, _ in paired),
        "predictions": summary([prediction for _, prediction in said]),
    }
