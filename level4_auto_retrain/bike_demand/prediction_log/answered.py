"""What one version answered to users, with what it was asked and what then happened."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from bike_demand.prediction_log import tables
from bike_demand.prediction_log.database import Database

predictions, outcomes = tables.predictions, tables.outcomes
CONDITIONS = ("holiday", "workingday", "weather", "temp_c", "feels_like_c", "humidity", "windspeed_kmh")


@dataclass(frozen=True)
class Answered:
    """The first answer of a version that was shown for an hour (local time).

    `conditions`: what the model was given, where values were replaced the replacements. `count` is None while
    it is not known.
    """

    hour: datetime
    conditions: Mapping[str, Any]
    prediction: float
    count: int | None


def answered(database: Database, version: int, since: datetime, until: datetime) -> list[Answered]:
    """The hours from `since` to before `until` for which the version's answer was shown, ascending."""
    turn = func.row_number().over(
        partition_by=predictions.c.hour, order_by=(predictions.c.made_at, predictions.c.id)
    )
    first = (
        select(predictions, turn.label("turn"))
        .where(predictions.c.version == version, predictions.c.hour >= since, predictions.c.hour < until)
        .subquery()
    )
    statement = (
        select(first, outcomes.c.count)
        .outerjoin(outcomes, outcomes.c.hour == first.c.hour)
        .where(first.c.turn == 1)
        .order_by(first.c.hour)
    )
    with database.reading() as connection:
        rows = connection.execute(statement).mappings().all()
    return [
        Answered(
            row["hour"],
            {name: row[name] for name in CONDITIONS} | (row["replaced"] or {}),
            row["prediction"],
            row["count"],
        )
        for row in rows
    ]


def first_hour_after(database: Database, version: int, other: int | None) -> datetime | None:
    """The first hour for which `version` was shown since `other` was shown last; None: it was not.

    No other: since ever.
    """
    mine = select(func.min(predictions.c.hour)).where(predictions.c.version == version)
    with database.reading() as connection:
        if other is not None:
            last = connection.scalar(
                select(func.max(predictions.c.made_at)).where(predictions.c.version == other)
            )
            if last is not None:
                mine = mine.where(predictions.c.made_at > last)
        found: datetime | None = connection.scalar(mine)
        return found
