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

from bike_demand.data.schema import EARLIEST, LIMITS, Conditions
from bike_demand.data.target import error, target_of
from bike_demand.prediction_log.database import Database, upsert
from bike_demand.prediction_log.loop_tables import days as table
from bike_demand.prediction_log.loop_tables import drift
from bike_demand.prediction_log.tables import outcomes, predictions

FIELDS = tuple(LIMITS)
WEEK = timedelta(days=7)
ALL = 0  # in the table, the version of all versions together

Summary = Mapping[str, float | None]


@dataclass(frozen=True)
class Answer:
    """A logged answer: what was asked, as it was asked, and what the shown and the other model said."""

    asked: Conditions
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
    first answer to each hour. Errors, bias and count, that of the right answers, are sums over hours.

    Of `hours` answered, the right answer of `known` is known. In `baseline_hours` of them that of the same
    hour a week before is known too: answering it would have been off by `baseline_error`, the model was by
    `paired_error`. `predictions` and each of `features`: mean, sd, min, p10, p50, p90, max, nulls (None: no
    value). `quality`: {field: {check: hours}} of what was wrong with what was asked.
    """

    day: date
    version: int | None
    hours: int
    known: int
    error: float
    bias: float
    count: float
    baseline_hours: int
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


def first_hour(database: Database) -> datetime | None:
    """The earliest hour that was answered; None: nothing was."""
    with database.reading() as connection:
        hour: datetime | None = connection.scalar(
            select(func.min(predictions.c.hour)).where(predictions.c.hour >= EARLIEST)
        )
    return hour


def answers(database: Database, since: datetime, until: datetime) -> list[Answer]:
    """All answers to the hours from `since` to before `until`: by hour, and in the order they were given."""
    names = (*FIELDS, "hour", "prediction", "version", "other_prediction", "other_version")
    statement = (
        select(*(predictions.c[name] for name in names))
        .where(predictions.c.hour >= since, predictions.c.hour < until)
        .order_by(predictions.c.hour, predictions.c.made_at, predictions.c.id)
    )
    with database.reading() as connection:
        rows = connection.execute(statement).mappings().all()
    return [
        Answer(
            # They were validated when they were asked.
            Conditions.model_construct(timestamp=row["hour"], **{name: row[name] for name in FIELDS}),
            row["prediction"],
            row["version"],
            row["other_prediction"],
            row["other_version"],
        )
        for row in rows
    ]


def first_answers(given: Iterable[Answer]) -> list[Answer]:
    """Of each hour the answer that was given first, which is the one that counts."""
    found: dict[datetime, Answer] = {}
    for each in given:
        found.setdefault(each.asked.timestamp, each)
    return list(found.values())


def counts(database: Database, since: datetime, until: datetime) -> dict[datetime, int]:
    """The counts that the application was told of the hours from `since` to before `until`."""
    statement = select(outcomes.c.hour, outcomes.c.count).where(
        outcomes.c.hour >= since, outcomes.c.hour < until
    )
    with database.reading() as connection:
        return dict(connection.execute(statement).tuples().all())


def keep(
    database: Database,
    given: Sequence[Answer],
    known: Mapping[datetime, int],
    quality: Mapping[date, Mapping[str, Mapping[str, int]]],
) -> None:
    """Keep the days of these answers, all of each day, in the place of what was kept of them before.

    `known` are the counts of their hours and of those of the week before.
    """
    by_day: dict[date, list[Answer]] = {}
    for each in given:
        by_day.setdefault(each.asked.timestamp.date(), []).append(each)
    rows: list[dict[str, Any]] = []
    for day, its in by_day.items():
        first = first_answers(its)
        features = {name: summary([getattr(each.asked, name) for each in first]) for name in FIELDS}
        shown = [(each.asked.timestamp, each.prediction) for each in first]
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
                    said.setdefault(each.asked.timestamp, prediction)
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


def _sums(said: Sequence[tuple[datetime, float]], known: Mapping[datetime, int]) -> dict[str, Any]:
    pairs = [(prediction, target_of(known[hour]), hour) for hour, prediction in said if hour in known]
    paired = [(*each[:2], target_of(known[each[2] - WEEK])) for each in pairs if each[2] - WEEK in known]
    return {
        "hours": len(said),
        "known": len(pairs),
        "error": math.fsum(error(prediction, count) for prediction, count, _ in pairs),
        "bias": math.fsum(prediction - count for prediction, count, _ in pairs),
        "count": float(sum(count for _, count, _ in pairs)),
        "baseline_hours": len(paired),
        "baseline_error": float(sum(error(before, count) for _, count, before in paired)),
        "paired_error": math.fsum(error(prediction, count) for prediction, count, _ in paired),
        "predictions": summary([prediction for _, prediction in said]),
    }
