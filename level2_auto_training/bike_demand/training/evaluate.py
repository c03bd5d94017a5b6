"""How good a model is on rows that it was not trained on."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from bike_demand.core.current import PROBLEM, TIME, further_metrics, naive, targets
from bike_demand.core.problem import Floats
from bike_demand.data.features import to_inputs
from bike_demand.data.frames import columns_of, concat, end, keys_of, mean_loss, period
from bike_demand.handoff import OUTPUT_NAME, read_handoff
from bike_demand.runtime import open_session

WEEK = timedelta(days=7)


def predict(folder: Path, rows: pd.DataFrame) -> Floats:
    """The prediction for each row, shape [rows], of a hand-off's model. Raises UserError if it is damaged."""
    handoff = read_handoff(folder)
    session = open_session(handoff.model)
    (predicted,) = session.run([OUTPUT_NAME], to_inputs(columns_of(rows), handoff.card.names))
    return np.asarray(predicted[:, 0], dtype=np.float64)


def evaluate(past: pd.DataFrame, held_out: pd.DataFrame, predicted: Floats) -> dict[str, float]:
    """Mean errors on the held-out rows, of the model and two simple baselines, and the problem's metrics.

    `mae` and `bias` (positive: too high) are the model's; `mae_mean` is that of always predicting the
    mean of the rows it learned from, `mae_baseline` that of the problem's baseline.
    """
    truth = targets(held_out)
    mean = float(targets(past).mean())
    baseline = np.full_like(truth, naive(targets(past)))
    if PROBLEM.season is not None:
        both = concat((past, held_out))
        at = pd.MultiIndex.from_arrays([held_out[TIME] - PROBLEM.season, keys_of(held_out)])
        before = pd.Series(targets(both), index=[both[TIME], keys_of(both)]).reindex(at).to_numpy()
        baseline = np.where(np.isnan(before), baseline, before)
    return further_metrics(predicted, truth) | {
        "mae": mean_loss(PROBLEM.loss.of(predicted, truth), held_out),
        "bias": float((predicted - truth).mean()),
        "mae_mean": mean_loss(PROBLEM.loss.of(np.full_like(truth, mean), truth), held_out),
        "mae_baseline": mean_loss(PROBLEM.loss.of(baseline, truth), held_out),
        "rows": float(len(held_out)),
    }


def passes(metrics: dict[str, float], worst_ratio: float) -> bool:
    """Did the model learn anything? Whether it is better than the one that is live, its release asks."""
    return metrics["mae"] <= worst_ratio * metrics["mae_mean"]  # False for NaN


def by_week(rows: pd.DataFrame, predicted: Floats, weeks: int) -> list[tuple[datetime, float]]:
    """Mean error of the last weeks, counted back from the last row: (first moment, error)."""
    ages = ((period(rows)[1] - rows[TIME]).dt.days // 7).to_numpy()
    errors = PROBLEM.loss.of(predicted, targets(rows))
    return [
        (end(rows) - (age + 1) * WEEK, float(errors[chosen].mean()))
        for age in reversed(range(weeks))
        if (chosen := ages == age).any()
    ]


def by_slice(rows: pd.DataFrame, predicted: Floats) -> list[tuple[str, float]]:
    """Mean error in each of the problem's slices that has rows."""
    columns, errors = columns_of(rows), PROBLEM.loss.of(predicted, targets(rows))
    chosen = {name: belongs(columns) for name, belongs in PROBLEM.slices.items()}
    return [(name, float(errors[those].mean())) for name, those in chosen.items() if those.any()]
