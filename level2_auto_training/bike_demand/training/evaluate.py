"""How good a model is on rows that it was not trained on."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from bike_demand.core.current import CADENCE, PROBLEM, TIME, targets
from bike_demand.core.problem import Floats
from bike_demand.data.features import to_matrix
from bike_demand.data.frames import columns_of, concat, period
from bike_demand.handoff import INPUT_NAME, OUTPUT_NAME, read_handoff
from bike_demand.runtime import open_session

WEEK = timedelta(days=7)


def predict(folder: Path, rows: pd.DataFrame) -> Floats:
    """The prediction for each row, shape [rows], of a hand-off's model. Raises UserError if it is damaged."""
    handoff = read_handoff(folder)
    session = open_session(handoff.model)
    (predicted,) = session.run([OUTPUT_NAME], {INPUT_NAME: to_matrix(columns_of(rows), handoff.card.names)})
    return np.asarray(predicted[:, 0], dtype=np.float64)


def evaluate(past: pd.DataFrame, held_out: pd.DataFrame, predicted: Floats) -> dict[str, float]:
    """Mean errors on the held-out rows, of the model and of two simple baselines.

    `mae` and `bias` (positive: too high) are the model's; `mae_mean` is that of always predicting the
    mean of the rows it learned from, `mae_last_week` of predicting the target of the same time a week before.
    """
    truth = targets(held_out)
    mean = float(targets(past).mean())
    both = concat((past, held_out))
    known = pd.Series(targets(both), index=both[TIME]).reindex(held_out[TIME] - WEEK).to_numpy()
    week_before = np.where(np.isnan(known), mean, known)
    return {
        "mae": float(PROBLEM.loss.of(predicted, truth).mean()),
        "bias": float((predicted - truth).mean()),
        "mae_mean": float(PROBLEM.loss.of(np.full_like(truth, mean), truth).mean()),
        "mae_last_week": float(PROBLEM.loss.of(week_before, truth).mean()),
        "rows": float(len(held_out)),
    }


def passes(metrics: dict[str, float], worst_ratio: float) -> bool:
    """Did the model learn anything? Whether it is better than the one that is live, its release asks."""
    return metrics["mae"] <= worst_ratio * metrics["mae_mean"]  # False for NaN


def by_week(rows: pd.DataFrame, predicted: Floats, weeks: int) -> list[tuple[datetime, float]]:
    """Mean error of the last weeks, counted back from the last row: (first moment, error)."""
    end = period(rows)[1] + CADENCE
    ages = ((end - CADENCE - rows[TIME]).dt.days // 7).to_numpy()
    errors = PROBLEM.loss.of(predicted, targets(rows))
    return [
        (end - (age + 1) * WEEK, float(errors[chosen].mean()))
        for age in reversed(range(weeks))
        if (chosen := ages == age).any()
    ]


def by_slice(rows: pd.DataFrame, predicted: Floats) -> list[tuple[str, float]]:
    """Mean error in each of the problem's slices that has rows."""
    columns, errors = columns_of(rows), PROBLEM.loss.of(predicted, targets(rows))
    chosen = {name: belongs(columns) for name, belongs in PROBLEM.slices.items()}
    return [(name, float(errors[those].mean())) for name, those in chosen.items() if those.any()]
