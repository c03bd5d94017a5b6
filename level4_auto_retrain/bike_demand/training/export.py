"""Exports the fitted model to ONNX and checks its predictions against scikit-learn before it is written."""

import copy
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import helper
from pydantic import ValidationError
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from bike_demand.core.current import EVENT_TIME, FIELDS, PROBLEM, TIME, Inputs
from bike_demand.core.errors import UserError, first_violation
from bike_demand.data.frames import concat, input_columns, to_records
from bike_demand.data.model_inputs import FEATURES, NUMERIC_FEATURES, TENSOR_NAME, TEXT_FEATURES, to_tensors
from bike_demand.handoff import OUTPUT_NAME, SCALE_TOLERANCE, Golden, GoldenRow, open_session
from bike_demand.training.train import predict

RELATIVE_TOLERANCE = 1e-4
ABSOLUTE_TOLERANCE = 10.0 ** -(PROBLEM.decimals + 1)  # a prediction is rounded to `decimals`
OPSET = {"": 21, "ai.onnx.ml": 3}
# By default skl2onnx multiplies by the reciprocal. The last digit then differs, so that a value equal to a
# tree's threshold takes the other branch.
_EXACT_SCALING = {StandardScaler: {"div": "div"}, MaxAbsScaler: {"div": "div_cast"}}
GOLDEN_ROWS_EACH = 24  # newest rows, and as many evenly spaced ones: up to 48 in total


def to_onnx(pipeline: Pipeline) -> bytes:
    """Convert the whole pipeline, from features to prediction, to ONNX. Deterministic: equal models give
    equal bytes. Raises UserError if a part of it cannot be converted, or ONNX Runtime cannot load the result.
    """
    try:
        content: bytes = single_output(convert(pipeline), pipeline).SerializeToString(deterministic=True)
        open_session(content)
    except Exception as error:  # the errors of skl2onnx and ONNX Runtime have no other common class
        steps = ", ".join(type(step).__name__ for _, step in pipeline.steps)
        reason = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        raise UserError(f"the model ({steps}) cannot be exported: {reason}; nothing was written") from None
    return content


def convert(pipeline: Pipeline) -> onnx.ModelProto:
    """Convert the pipeline with skl2onnx, keeping skl2onnx's own outputs."""
    if getattr(_final_estimator(pipeline), "is_categorical_", None) is not None:  # skl2onnx ignores it
        raise ValueError("categorical_features are not converted; use an encoder, like OneHotEncoder")
    numbers = [(TENSOR_NAME, FloatTensorType([None, len(NUMERIC_FEATURES)]))] if NUMERIC_FEATURES else []
    texts = [name for name in FEATURES if name in TEXT_FEATURES]
    converted = _with_float32_thresholds(pipeline)
    _select_by_position(converted, FEATURES)
    no_zipmap = {id(_final_estimator(converted)): {"zipmap": False}} if is_classifier(pipeline) else {}
    model: onnx.ModelProto = convert_sklearn(
        converted,
        name=PROBLEM.name,
        initial_types=[*numbers, *((name, StringTensorType([None, 1])) for name in texts)],
        target_opset=OPSET,
        options=_EXACT_SCALING | no_zipmap,
    )
    return model


def _final_estimator(pipeline: Pipeline) -> Any:
    last = pipeline.steps[-1][1]
    return _final_estimator(last) if isinstance(last, Pipeline) else last


def _select_by_position(part: Any, columns: Sequence[str]) -> None:
    """Let a part that gets these columns select them by position, in place: skl2onnx sees a matrix without
    names. Pass a copy.
    """
    if isinstance(part, Pipeline):
        for step in part.named_steps.values():
            _select_by_position(step, columns)
    elif isinstance(part, ColumnTransformer):
        positions = {name: position for position, name in enumerate(columns)}
        selected = [np.atleast_1d(each).tolist() for _, _, each in part.transformers_]
        for (_, inner, _), names in zip(part.transformers_, selected, strict=True):
            _select_by_position(inner, names)
        part.transformers_ = [
            (name, inner, [positions.get(each, each) for each in names])
            for (name, inner, _), names in zip(part.transformers_, selected, strict=True)
        ]


def _with_float32_thresholds(pipeline: Pipeline) -> Pipeline:
    """The same model with thresholds representable in float32; predictions for float32 values are unchanged.

    skl2onnx rounds thresholds of histogram gradient boosting to the nearest float32 (those of other trees
    it rounds down), so that a value between the exact and the rounded threshold would take the other branch.
    `_predictors` has no public equivalent: https://github.com/scikit-learn/scikit-learn/issues/29731
    """
    rounded = copy.deepcopy(pipeline)
    for trees in getattr(_final_estimator(rounded), "_predictors", ()):
        for tree in trees:
            thresholds = tree.nodes["num_threshold"]
            nearest = thresholds.astype(np.float32)
            tree.nodes["num_threshold"] = np.where(
                nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest
            )
    return rounded


def single_output(model: onnx.ModelProto, pipeline: Pipeline) -> onnx.ModelProto:
    """Reduce the model to one output, the prediction: for classifiers the positive class's probability."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    if is_classifier(pipeline):
        graph.initializer.append(helper.make_tensor("second_class", onnx.TensorProto.INT64, [1], [1]))
        output = helper.make_node("Gather", [graph.output[1].name, "second_class"], [OUTPUT_NAME], axis=1)
    elif getattr(_final_estimator(pipeline), "loss", None) in ("poisson", "gamma"):  # skl2onnx omits exp
        output = helper.make_node("Exp", [graph.output[0].name], [OUTPUT_NAME], name="inverse_link")
    else:
        output = helper.make_node("Identity", [graph.output[0].name], [OUTPUT_NAME])
    graph.node.append(output)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT_NAME, onnx.TensorProto.FLOAT, [None, 1]))
    # Texts may need operators of ONNX Runtime's own, in further domains.
    further = [each for each in model.opset_import if each.domain not in OPSET]
    del result.opset_import[:]
    result.opset_import.extend(helper.make_opsetid(domain, number) for domain, number in OPSET.items())
    result.opset_import.extend(further)
    onnx.checker.check_model(result)
    return result


def check_parity(model: bytes, pipeline: Pipeline, X: pd.DataFrame) -> float:
    """Compare the exported model with scikit-learn on feature rows X. Returns the largest difference.

    Each row is also tried with all nullable fields null. Raises UserError if predictions differ.
    """
    nullable = [name for name in FEATURES if name in FIELDS and FIELDS[name].nullable]
    nulls = {name: "" if name in TEXT_FEATURES else np.float32("nan") for name in nullable}
    with_nulls = concat((X, X.assign(**nulls)))
    inputs = {name: with_nulls[[name]].to_numpy(object) for name in FEATURES if name in TEXT_FEATURES}
    if NUMERIC_FEATURES:
        inputs[TENSOR_NAME] = with_nulls[[*NUMERIC_FEATURES]].to_numpy(np.float32)
    (exported,) = open_session(model).run(None, inputs)
    expected = predict(pipeline, with_nulls)
    difference = np.abs(exported.reshape(-1).astype(np.float64) - expected)
    size = np.abs(expected)
    wrong = ~(difference <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * size + SCALE_TOLERANCE * size.max())
    if wrong.any():
        raise UserError(
            f"the ONNX export does not match scikit-learn: {int(wrong.sum())} of {len(expected)} predictions"
            f" differ, by up to {np.nanmax(difference):.6g} {PROBLEM.unit}; nothing was written, check the"
            " versions of skl2onnx and onnx against requirements.lock (see docs: troubleshooting, parity)"
        )
    return float(difference.max())


def golden_rows(model: bytes, rows: pd.DataFrame) -> Golden:
    """Requests and predictions for some of the model's rows: the newest, and as many spread over all.

    Stored with the model, so that wherever it is loaded its predictions can be verified. Raises UserError if
    a row is not a valid request.
    """
    spread = np.linspace(0, len(rows) - 1, num=GOLDEN_ROWS_EACH, dtype=int)
    chosen = rows.iloc[sorted({*spread.tolist(), *range(len(rows))[-GOLDEN_ROWS_EACH:]})]
    requests = [row | {TIME: EVENT_TIME.format(row[TIME])} for row in to_records(chosen)]
    try:
        for request in requests:
            Inputs.model_validate_json(json.dumps(request))
    except ValidationError as error:
        reason = f"a row of the feed is no valid request: {first_violation(error)}"
        raise UserError(f"problem: inputs: {reason}; nothing was written") from None
    (predicted,) = open_session(model).run([OUTPUT_NAME], to_tensors(input_columns(chosen)))
    pairs = zip(requests, predicted[:, 0].tolist(), strict=True)
    return tuple(GoldenRow(request=request, prediction=prediction) for request, prediction in pairs)
