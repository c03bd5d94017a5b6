"""Checks the problem definition on a few rows of the feed, in seconds, without a full training."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from bike_demand.core.current import (
    FIELDS,
    LABEL,
    MAX_PREDICTION,
    MIN_PREDICTION,
    NUMERIC_FIELDS,
    OUTCOME_EXAMPLE,
    PROBLEM,
    TIME,
    Inputs,
    Outcome,
    format_loss,
    further_metrics,
    targets,
)
from bike_demand.core.errors import UserError, first_violation
from bike_demand.core.problem import BehaviorTest, Floats
from bike_demand.core.settings import TrainingSettings
from bike_demand.data.frames import concat, features_of, input_columns, period_end, with_label
from bike_demand.data.model_inputs import FEATURES, TEXT_FEATURES
from bike_demand.training.export import check_parity, to_onnx
from bike_demand.training.train import check_example, fit, predict

MAX_ROWS = 1000  # drawn from the newest rows, for fitting
MAX_TEST_ROWS = 1000  # the service's limit for one request


def check(newest_rows: pd.DataFrame, settings: TrainingSettings) -> list[tuple[str, str]]:
    """Check the problem on the newest rows (ascending, at least one). Returns (part, result) pairs.

    Raises UserError, which names the part of the problem, at the first violation.
    """
    rows = with_label(newest_rows)
    if rows.empty:
        raise UserError("none of the newest rows has a label yet; ingest more months")
    # At random: with many keys, the newest rows would all be of the same time.
    chosen = rows.sample(min(len(rows), MAX_ROWS), random_state=0).index
    values, counts = np.unique(targets(rows), return_counts=True)
    rare = rows.index[targets(rows) != values[counts.argmax()]]
    if len(chosen.intersection(rare)) < 20:  # too few of a rare class
        spread = np.linspace(0, len(rare) - 1, min(len(rare), MAX_ROWS // 10), dtype=int)
        chosen = chosen.union(rare[spread])
    rows = rows.loc[chosen].sort_index()
    checks: dict[str, Callable[[pd.DataFrame, TrainingSettings], str]] = {
        "fields": _fields,
        "label": _label,
        "examples": _examples,
        "features": _features,
        "target, loss": _loss,
        "model": _model,
        "slices": _slices,
        "behavioral tests": _behavior,
    }
    found = []
    for name, each in checks.items():
        try:
            found.append((name, each(rows, settings)))
        except UserError:
            raise
        except Exception as error:  # the problem's own code may raise anything
            raise UserError(f"problem: {name}: {error!r}") from None
    return found


def _fields(rows: pd.DataFrame, _settings: TrainingSettings) -> str:
    found = [f"{name} ({field.kind})" for name, field in FIELDS.items()]
    outside_expected = []
    for name, field in FIELDS.items():
        if field.expected is not None and name in NUMERIC_FIELDS:
            values = rows[name]
            low, high = field.expected.low, field.expected.high
            if share := float(((values < low) | (values > high)).mean()):
                outside_expected.append(f"; {share:.1%} of {name} outside {low:g} to {high:g}")
    return f"{TIME} (event time), {', '.join(found)}{''.join(outside_expected)}"


def _label(rows: pd.DataFrame, _settings: TrainingSettings) -> str:
    values = targets(rows)
    return f"{LABEL}: {PROBLEM.label_description}; targets from {values.min():g} to {values.max():g}"


def _examples(_rows: pd.DataFrame, _settings: TrainingSettings) -> str:
    examples = [PROBLEM.example, *PROBLEM.more_examples.values()]
    _validate_all("example", Inputs, examples)
    _validate_all("example_label", Outcome, [{**OUTCOME_EXAMPLE, **PROBLEM.example_label}])
    return f"{len(examples)}, all valid"


def _features(rows: pd.DataFrame, _settings: TrainingSettings) -> str:
    features = features_of(rows)
    last = features[-100:].reset_index(drop=True)
    single = concat(features_of(rows[at : at + 1]) for at in range(len(rows))[-100:])
    for name in FEATURES:
        is_text = name in TEXT_FEATURES
        same = last[name] == single[name] if is_text else np.isclose(last[name], single[name], equal_nan=True)
        if not same.all():
            raise UserError(f"problem: features: {name} depends on other rows; compute each row by itself")
    constant = [name for name in FEATURES if features[name].nunique(dropna=False) == 1]
    return ", ".join(FEATURES) + (f"; constant in these rows: {', '.join(constant)}" if constant else "")


def _loss(rows: pd.DataFrame, _settings: TrainingSettings) -> str:
    truth = targets(rows)
    if not ((truth >= MIN_PREDICTION) & (truth <= MAX_PREDICTION)).all():
        raise UserError(f"problem: prediction_range: a target is not in {PROBLEM.prediction_range}")
    best = PROBLEM.loss.per_row(truth, truth)
    for guess in (MIN_PREDICTION, MAX_PREDICTION, float(truth.mean())):
        if not (PROBLEM.loss.per_row(np.full_like(truth, guess), truth) >= best).all() or (best < 0).any():
            raise UserError("problem: loss: it must be 0 or more, and lowest at the target")
    mean = float(PROBLEM.loss.per_row(np.full_like(truth, truth.mean()), truth).mean())
    unit = f"{PROBLEM.loss.name} in {PROBLEM.loss.unit}"
    return f"{unit}; always predicting the mean gives {format_loss(mean)}"


def _model(rows: pd.DataFrame, settings: TrainingSettings) -> str:
    # The newest months may span fewer days than are held out.
    cut = max(period_end(rows) - timedelta(days=settings.holdout_days), rows[TIME].iloc[len(rows) * 3 // 4])
    is_past = rows[TIME] < cut
    past, unseen = rows[is_past], rows[~is_past]
    if not targets(past).any():
        raise UserError(f"all targets are 0 in the older {len(past)} of the newest rows; ingest more months")
    pipeline = fit(past, settings.params, settings.half_life_days)
    check_example(pipeline)
    difference = check_parity(to_onnx(pipeline), pipeline, features_of(rows))
    predicted, truth = predict(pipeline, features_of(unseen)), targets(unseen)
    loss = PROBLEM.loss.per_row(predicted, truth)
    further = "".join(f", {name} {value:.3f}" for name, value in further_metrics(predicted, truth).items())
    return (
        f"{type(pipeline.steps[-1][1]).__name__} on {len(past)} rows: {format_loss(loss.mean())}{further} on"
        f" the next {len(unseen)}; its ONNX file predicts the same (within {difference:.2g})"
    )


def _slices(rows: pd.DataFrame, _settings: TrainingSettings) -> str:
    columns, empty = input_columns(rows), []
    for name, belongs in PROBLEM.slices.items():
        chosen = np.asarray(belongs(columns))
        if chosen.dtype != np.bool_ or chosen.shape != (len(rows),):
            raise UserError(f"problem: slices: {name} does not return one boolean per row")
        empty += [] if chosen.any() else [name]
    return f"{len(PROBLEM.slices)}" + (f"; without a row: {', '.join(empty)}" if empty else "")


def _behavior(_rows: pd.DataFrame, _settings: TrainingSettings) -> str:
    for test in PROBLEM.behavior_tests:
        rows = _validate_all("behavior_tests", Inputs, list(test.rows()))
        if len(rows) > MAX_TEST_ROWS:
            raise UserError(f"problem: behavior_tests: {test.sentence!r} has more than {MAX_TEST_ROWS} rows")
        if not some_prediction_fails(test, PROBLEM.prediction_range, len(rows)):
            raise UserError(f"problem: behavior_tests: {test.sentence!r} never fails, whatever is predicted")
    return f"{len(PROBLEM.behavior_tests)}; each can fail"


def some_prediction_fails(test: BehaviorTest, prediction_range: tuple[float, float], count: int) -> bool:
    """Whether at least one of 24 nonsensical predictions for `count` rows fails the test."""
    if test.find_failure is None:
        return True  # predictions can still be outside their range
    low, high = prediction_range
    ramp = np.linspace(low, high, count)
    rng = np.random.default_rng(0)
    nonsense: list[Floats] = [np.full(count, low), np.full(count, high), ramp, ramp[::-1]]
    nonsense += [rng.uniform(low, high, count) for _ in range(20)]
    return any(test.find_failure(each.tolist()) for each in nonsense)


def _validate_all(part: str, model: Any, given: Sequence[Any]) -> list[Any]:
    try:
        return [model.model_validate_json(json.dumps(dict(each))) for each in given]
    except ValidationError as error:
        raise UserError(f"problem: {part}: {first_violation(error)}") from None
