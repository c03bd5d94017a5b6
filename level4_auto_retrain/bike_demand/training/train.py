"""One training: from the gathered hours to a fitted model and its error on days it has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from sklearn.pipeline import Pipeline

from bike_demand.data.features import to_matrix
from bike_demand.data.schema import Hour
from bike_demand.errors import UserError
from bike_demand.settings import Training
from bike_demand.training.model import fit
from bike_demand.training.threads import one_thread


@dataclass(frozen=True)
class Trained:
    """A model fitted to all rows, and its twin: the same recipe without the last `held_out` rows.

    `mae` (bikes an hour) is the twin's error on these.
    """

    pipeline: Pipeline
    twin: Pipeline
    held_out: int
    mae: float


def train(rows: Sequence[Hour], settings: Training) -> Trained:
    """Fit the recipe to all rows, and once more without the last days to see how it does on these.

    Raises UserError where there are too few rows, or no rentals in them.
    """
    if not rows:
        raise UserError("no hours before --as-of were gathered; give a later one, or run ingest again")
    begin = rows[-1].timestamp - timedelta(days=settings.holdout_days) + timedelta(hours=1)
    past = [row for row in rows if row.timestamp < begin]
    held_out = rows[len(past) :]
    if len(past) < settings.min_rows:
        raise UserError(
            f"{len(past)} hours to learn from besides the last {settings.holdout_days} days, too few: gather"
            f" more (training.min_rows in params.yaml is {settings.min_rows})"
        )
    if not any(row.count for row in past):
        raise UserError("not one bike was rented in the gathered hours; look into the feed")
    twin = fit(past, settings.recipe, settings.half_life_days)
    truth = np.array([row.count for row in held_out], dtype=np.float64)
    with one_thread():
        mae = float(np.abs(twin.predict(to_matrix(held_out)) - truth).mean())
    return Trained(fit(rows, settings.recipe, settings.half_life_days), twin, len(held_out), mae)
