"""Rescales labels from before a level shift, so that a model learns the new level from all rows.

Weighting recent rows more is not enough: a few days after the shift, many groups of rows that the model
distinguishes (such as weekdays) have no rows yet. The factor of the shift is therefore estimated and removed,
as in intervention analysis of time series (Box and Tiao 1975, "Intervention analysis", Journal of the
American Statistical Association).
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import numpy as np
import pandas as pd

from bike_demand.core.current import LABEL, MIN_PREDICTION, TIME, targets
from bike_demand.core.settings import IS_PROBABILITY, TrainingSettings
from bike_demand.data.frames import features_of, period_end
from bike_demand.data.quarantine import multiply_labels
from bike_demand.training.train import fit, predict

# Rows after a shift that its estimate uses; later ones reflect the season.
MAX_ESTIMATION_PERIOD = timedelta(days=14)


def rescale_labels(
    rows: pd.DataFrame, shifts: Sequence[date], settings: TrainingSettings
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Multiply the labels of rows (ascending) before each shift by a factor. Also returns {ISO day: factor}.

    The factor is the sum of the targets since the shift, without held-out rows, divided by the predictions
    for them of a model fitted to the rows before. Probabilities and signed targets cannot be scaled and stay,
    as do labels that are not proportional to their targets.
    """
    doubled = rows.assign(**{LABEL: 2 * rows[LABEL]})
    if IS_PROBABILITY or MIN_PREDICTION < 0 or not np.allclose(targets(doubled), 2 * targets(rows)):
        return rows, {}
    holdout_start = period_end(rows) - timedelta(days=settings.holdout_days)
    factors: dict[str, float] = {}
    for day in shifts:
        since = datetime.combine(day, time())
        is_before = rows[TIME] < since
        after = rows[~is_before & (rows[TIME] < min(holdout_start, since + MAX_ESTIMATION_PERIOD))]
        if is_before.sum() < settings.min_rows or after.empty:
            continue
        earlier_model = fit(rows[is_before], settings.params, settings.half_life_days)
        factor = float(targets(after).sum() / predict(earlier_model, features_of(after)).sum())
        factors[day.isoformat()] = factor
        rows = multiply_labels(rows, {day.isoformat(): factor})
    return rows, factors
