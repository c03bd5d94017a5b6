"""Fitting: the problem's model, how much each row counts, and what a fitted model predicts."""

import numpy as np
import pandas as pd
from pydantic import BaseModel
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from bike_demand.core.current import PROBLEM, TIME, targets
from bike_demand.core.errors import UserError
from bike_demand.core.problem import Array, Floats
from bike_demand.data.frames import features_of
from bike_demand.training.threads import one_thread


def weights(times: Array, half_life_days: float) -> Floats:
    """How much each row counts: half as much for every `half_life_days` before the newest, shape [rows]."""
    age_days = (times.max() - times) / np.timedelta64(1, "D")
    return np.asarray(0.5 ** (age_days / half_life_days), dtype=np.float64)


def fit(rows: pd.DataFrame, params: BaseModel, half_life_days: float | None) -> Pipeline:
    """The problem's model fitted to rows, on float32 values: those are what the exported model compares with.

    Without a half-life all rows count the same. Raises UserError where it cannot be fitted to them.
    """
    built = PROBLEM.build_model(params)
    pipeline = built if isinstance(built, Pipeline) else Pipeline([("model", built)])
    given = {}
    if half_life_days is not None:
        step = pipeline.steps[-1][0]
        given[f"{step}__sample_weight"] = weights(rows[TIME].to_numpy(), half_life_days)
    try:
        with one_thread():
            return pipeline.fit(features_of(rows), targets(rows), **given)
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"problem: build_model: the model cannot be fitted: {reason}") from None


def predict(pipeline: Pipeline, X: pd.DataFrame) -> Floats:
    """The predictions of a fitted model, shape [rows]: for classes the probability of the second one."""
    with one_thread():
        found = pipeline.predict_proba(X)[:, 1] if is_classifier(pipeline) else pipeline.predict(X)
        return np.asarray(found, dtype=np.float64)
