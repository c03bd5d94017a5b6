"""How good a model is on hours that it was not trained on."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from bike_demand.data.features import to_matrix
from bike_demand.data.schema import Hour
from bike_demand.data.target import Floats, error, target_of, targets
from bike_demand.handoff import INPUT_NAME, OUTPUT_NAME, read_handoff
from bike_demand.runtime import open_session

WEEK = timedelta(days=7)


def predict(folder: Path, rows: Sequence[Hour]) -> Floats:
    """The answer for each hour, shape [rows], of a hand-off's model. Raises UserError if it is damaged."""
    session = open_session(read_handoff(folder).model)
    (answer,) = session.run([OUTPUT_NAME], {INPUT_NAME: to_matrix(rows)})
    return np.asarray(answer[:, 0], dtype=np.float64)


def evaluate(past: Sequence[Hour], held_out: Sequence[Hour], predicted: Floats) -> dict[str, float]:
    """Mean errors on the held-out rows, of the model and of two simple baselines.

    `mae` and `bias` (positive: too high) are the model's; `mae_mean` is that of always answering the
    mean of the rows it learned from, `mae_last_week` of answering the target of the same hour a week before.
    """
    truth = targets(held_out)
    mean = float(targets(past).mean())
    known = {row.timestamp: target_of(row.count) for row in (*past, *held_out)}
    week_before = np.array([known.get(row.timestamp - WEEK, mean) for row in held_out])
    return {
        "mae": float(error(predicted, truth).mean()),
        "bias": float((predicted - truth).mean()),
        "mae_mean": float(error(np.full_like(truth, mean), truth).mean()),
        "mae_last_week": float(error(week_before, truth).mean()),
        "rows": float(len(held_out)),
    }


def passes(metrics: dict[str, float], worst_ratio: float) -> bool:
    """Did the model learn anything? Whether it is better than the one that is live, its release asks."""
    return metrics["mae"] <= worst_ratio * metrics["mae_mean"]  # False for NaN


def by_week(rows: Sequence[Hour], predicted: Floats, weeks: int) -> list[tuple[datetime, float]]:
    """Mean error of the last weeks, counted back from the last row: (first hour, error)."""
    end = rows[-1].timestamp + timedelta(hours=1)
    ages = [(end - row.timestamp - timedelta(hours=1)) // WEEK for row in rows]
    errors = error(predicted, targets(rows))
    return [
        (end - (age + 1) * WEEK, float(errors[chosen].mean()))
        for age in reversed(range(weeks))
        if (chosen := np.array([each == age for each in ages])).any()
    ]


def by_hour(rows: Sequence[Hour], predicted: Floats) -> list[tuple[int, float]]:
    """Mean error by hour of the day, for those hours that occur."""
    hours = np.array([row.timestamp.hour for row in rows])
    errors = error(predicted, targets(rows))
    return [(hour, float(errors[hours == hour].mean())) for hour in range(24) if (hours == hour).any()]
