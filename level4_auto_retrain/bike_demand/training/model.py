"""The recipe of the model: what is fitted, and how much each row counts."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from bike_demand.data.features import to_matrix
from bike_demand.data.schema import Hour
from bike_demand.data.target import Floats, targets
from bike_demand.settings import Recipe
from bike_demand.training.threads import one_thread


def build_pipeline(recipe: Recipe) -> Pipeline:
    """The model before fitting. Counts are never negative and vary with their mean: hence Poisson loss."""
    return Pipeline(
        [
            (
                "model",
                HistGradientBoostingRegressor(
                    loss="poisson",
                    learning_rate=recipe.learning_rate,
                    max_iter=recipe.max_iter,
                    max_leaf_nodes=recipe.max_leaf_nodes,
                    min_samples_leaf=recipe.min_samples_leaf,
                    early_stopping=False,
                    random_state=recipe.random_state,
                ),
            )
        ]
    )


def weights(timestamps: Sequence[datetime], half_life_days: float) -> Floats:
    """How much each row counts: half as much for every `half_life_days` before the newest, shape [rows]."""
    stamps = np.array(timestamps, dtype="datetime64[s]")
    age_days = (stamps.max() - stamps) / np.timedelta64(1, "D")
    return np.asarray(0.5 ** (age_days / half_life_days), dtype=np.float64)


def fit(rows: Sequence[Hour], recipe: Recipe, half_life_days: float) -> Pipeline:
    """The recipe fitted to the rows, on float32 values: those are what the exported model compares with."""
    with one_thread():
        return build_pipeline(recipe).fit(
            to_matrix(rows),
            targets(rows),
            model__sample_weight=weights([row.timestamp for row in rows], half_life_days),
        )


def predict(pipeline: Pipeline, X: npt.NDArray[np.float32]) -> Floats:
    """What a fitted model answers to these rows, shape [rows]: what its exported file has to answer, too."""
    with one_thread():
        return np.asarray(pipeline.predict(X), dtype=np.float64)
