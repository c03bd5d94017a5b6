"""One training: from the gathered rows to a fitted model and its error on days it has not seen."""

from dataclasses import dataclass
from datetime import timedelta

import pandas as pd
from sklearn.pipeline import Pipeline

from bike_demand.core.current import LABEL, PROBLEM, TIME, further_metrics, targets
from bike_demand.core.errors import UserError
from bike_demand.core.settings import Training
from bike_demand.data.frames import end, features_of, mean_loss
from bike_demand.training.model import fit, predict


@dataclass(frozen=True)
class Trained:
    """A model fitted to all rows, and its holdout model: the same recipe without the last `held_out` rows.

    `mae` is the holdout model's mean error on these, `metrics` what the problem reports beside it.
    """

    pipeline: Pipeline
    holdout: Pipeline
    held_out: int
    mae: float
    metrics: dict[str, float]


def train(rows: pd.DataFrame, settings: Training) -> Trained:
    """Fit the recipe to all rows, and once more without the last days to see how it does on these.

    All rows have a label. Raises UserError where there are too few rows, or the target is 0 in all of them.
    """
    if rows.empty:
        raise UserError("no rows before --as-of were gathered; give a later one, or run ingest again")
    begin = end(rows) - timedelta(days=settings.holdout_days)
    is_past = rows[TIME] < begin
    past, held_out = rows[is_past], rows[~is_past]
    if len(past) < settings.min_rows:
        raise UserError(
            f"{len(past)} rows to learn from besides the last {settings.holdout_days} days, too few: gather"
            f" more (training.min_rows in params.yaml is {settings.min_rows})"
        )
    if not targets(past).any():
        raise UserError(f"what is learned of `{LABEL}` is 0 in all of the gathered rows; look into the feed")
    holdout = fit(past, settings.params, settings.half_life_days)
    unseen, truth = predict(holdout, features_of(held_out)), targets(held_out)
    mae = mean_loss(PROBLEM.loss.of(unseen, truth), held_out)
    final = fit(rows, settings.params, settings.half_life_days)
    return Trained(final, holdout, len(held_out), mae, further_metrics(unseen, truth))
