"""The fitted model as ONNX, proved to answer like scikit-learn before anyone gets it."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline

from bike_demand.data.features import FEATURES
from bike_demand.data.target import DECIMALS, UNIT
from bike_demand.errors import UserError
from bike_demand.handoff import INPUT_NAME, OUTPUT_NAME
from bike_demand.runtime import open_session
from bike_demand.training.model import predict

# float32 sums of a hundred trees differ from float64 ones by about 1e-6 of the value.
RELATIVE_TOLERANCE = 1e-4
ABSOLUTE_TOLERANCE = 10.0 ** -(DECIMALS + 1)  # an answer is rounded to DECIMALS
OPSET = {"": 21, "ai.onnx.ml": 3}


def to_onnx(pipeline: Pipeline) -> bytes:
    """The whole model, from features to the answer. The same model gives the same bytes."""
    content: bytes = with_inverse_link(convert(pipeline)).SerializeToString(deterministic=True)
    return content


def convert(pipeline: Pipeline) -> onnx.ModelProto:
    """What skl2onnx makes of the pipeline: the logarithm of the prediction, as it leaves the link out."""
    model: onnx.ModelProto = convert_sklearn(
        pipeline,
        name="bike-demand",
        initial_types=[(INPUT_NAME, FloatTensorType([None, len(FEATURES)]))],
        target_opset=OPSET,
    )
    return model


def with_inverse_link(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with exp() behind its output, which undoes the log link of Poisson loss."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    graph.node.append(helper.make_node("Exp", [graph.output[0].name], [OUTPUT_NAME], name="inverse_link"))
    graph.output.pop()
    graph.output.append(helper.make_tensor_value_info(OUTPUT_NAME, onnx.TensorProto.FLOAT, [None, 1]))
    del result.opset_import[:]
    result.opset_import.extend(helper.make_opsetid(domain, number) for domain, number in OPSET.items())
    onnx.checker.check_model(result)
    return result


def prove_parity(model: bytes, pipeline: Pipeline, X: npt.NDArray[np.float32]) -> float:
    """Compare the exported model with scikit-learn on rows X; the largest difference.

    Each row is tried a second time with its humidity missing. Raises UserError where they differ.
    """
    dry = X.copy()
    dry[:, FEATURES.index("humidity")] = np.nan
    both = np.concatenate([X, dry])
    (exported,) = open_session(model).run(None, {INPUT_NAME: both})
    expected = predict(pipeline, both)
    difference = np.abs(exported.reshape(-1).astype(np.float64) - expected)
    wrong = ~(difference <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(expected))
    if wrong.any():
        raise UserError(
            f"the exported model is not the trained one: {int(wrong.sum())} of {len(both)} predictions"
            f" differ, by up to {np.nanmax(difference):.6g} {UNIT}; nothing was written, check the versions"
            " of skl2onnx and onnx against requirements.lock"
        )
    return float(difference.max())
