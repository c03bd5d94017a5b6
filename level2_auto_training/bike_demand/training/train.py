"""One training: from the ingested rows to a fitted model and its error on a holdout."""

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np
import pandas as pd
from pydantic import BaseModel
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from bike_demand.core.current import LABEL, PROBLEM, TIME, Inputs, further_metrics, targets
from bike_demand.core.errors import UserError
from bike_demand.core.problem import Array, Floats
from bike_demand.core.settings import TrainingSettings
from bike_demand.data.frames import features_of, mean_loss, period_end, to_frame

# Limits compiled OpenMP code to one thread inside the block: at this size more threads save nothing, and on
# a busy machine thread contention can make training 100 times slower.
one_thread = partial(threadpool_limits, 1, user_api="openmp")


@dataclass(frozen=True)
class Trained:
    """A model refit on all rows, and its holdout model, fitted without the last `n_holdout_rows` rows.

    `holdout_loss` is the holdout model's mean loss on these rows, in the unit of the problem's loss;
    `metrics` are the problem's further metrics.
    """

    pipeline: Pipeline
    holdout_model: Pipeline
    n_holdout_rows: int
    holdout_loss: float
    metrics: dict[str, float]


def train(rows: pd.DataFrame, settings: TrainingSettings) -> Trained:
    """Fit the model to all rows, and once more without the holdout, to measure its error there.

    All rows must have a label. Raises UserError if there are too few rows, or all targets are 0.
    """
    if rows.empty:
        raise UserError("no rows before --as-of were ingested; give a later date, or run ingest again")
    begin = period_end(rows) - timedelta(days=settings.holdout_days)
    is_past = rows[TIME] < begin
    past, holdout = rows[is_past], rows[~is_past]
    if len(past) < settings.min_rows:
        raise UserError(
            f"only {len(past)} rows before the holdout of {settings.holdout_days} days, {settings.min_rows}"
            " are required (training.min_rows in params.yaml); ingest more"
        )
    if not targets(past).any():
        raise UserError(f"all targets of `{LABEL}` before the holdout are 0; check the feed")
    holdout_model = fit(past, settings.params, settings.half_life_days)
    predictions, truth = predict(holdout_model, features_of(holdout)), targets(holdout)
    loss = mean_loss(PROBLEM.loss.per_row(predictions, truth), holdout)
    refit = fit(rows, settings.params, settings.half_life_days)
    check_example(refit)
    return Trained(refit, holdout_model, len(holdout), loss, further_metrics(predictions, truth))


def check_example(pipeline: Pipeline) -> None:
    """Raises UserError if the prediction for the example is impossible, so that no service loads it."""
    example = Inputs.model_validate_json(json.dumps(dict(PROBLEM.example)))
    prediction = round(float(predict(pipeline, features_of(to_frame([example])))[0]), PROBLEM.decimals)
    low, high = PROBLEM.prediction_range
    if not low <= prediction <= high:
        raise UserError(
            f"problem: prediction_range: the model predicts {prediction} {PROBLEM.unit} for the example;"
            " widen the range, or choose a model that never leaves it"
        )


def recency_weights(times: Array, half_life_days: float) -> Floats:
    """Sample weights, shape [rows]: halved for every `half_life_days` before the newest row."""
    age_days = (times.max() - times) / np.timedelta64(1, "D")
    return np.asarray(0.5 ** (age_days / half_life_days), dtype=np.float64)


def fit(rows: pd.DataFrame, params: BaseModel, half_life_days: float | None) -> Pipeline:
    """Fit the problem's model on float32 features, as the exported model uses them.

    Without a half-life, all rows weigh the same. Raises UserError if the model cannot be fitted.
    """
    built = PROBLEM.build_model(params)
    pipeline = with_float32(built if isinstance(built, Pipeline) else Pipeline([("model", built)]))
    fit_params = {}
    if half_life_days is not None:
        step = pipeline.steps[-1][0]
        fit_params[f"{step}__sample_weight"] = recency_weights(rows[TIME].to_numpy(), half_life_days)
    try:
        with one_thread():
            return pipeline.fit(features_of(rows), targets(rows), **fit_params)
    except (TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        if "sample_weight" in reason:
            reason += "; set training.half_life_days in params.yaml to null"
        raise UserError(f"problem: build_model: the model cannot be fitted: {reason}") from None


def with_float32(pipeline: Pipeline) -> Pipeline:
    """Let encoders return float32: the float64 of one would make all columns float64, unlike in the export,
    and values equal to a tree's threshold would take the other branch there.
    """
    dtypes = {name: each for name, each in pipeline.get_params().items() if name.endswith("dtype")}
    return pipeline.set_params(**{name: np.float32 for name, each in dtypes.items() if each is np.float64})


def predict(pipeline: Pipeline, X: pd.DataFrame) -> Floats:
    """Predictions of a fitted model, shape [rows]; for classifiers the probability of the positive class."""
    with one_thread():
        found = pipeline.predict_proba(X)[:, 1] if is_classifier(pipeline) else pipeline.predict(X)
        return np.asarray(found, dtype=np.float64)
