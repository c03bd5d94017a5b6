"""A model that predicts one of its inputs, so that a prediction shows which value the model got."""

from pathlib import Path

import onnx
from onnx import helper

from bike_demand.data.model_inputs import NUMERIC_FEATURES
from tests.tiny import hand_over, inputs_of, table

NOTHING = 1000.0  # its answer where the input is null


def echo(folder: Path, field: str) -> Path:
    """The hand-off of a model that answers the field; the folder."""
    nodes = [
        helper.make_node("Gather", ["features", "which"], ["column"], axis=1),
        helper.make_node("IsNaN", ["column"], ["missing"]),
        helper.make_node("Where", ["missing", "nothing", "column"], ["prediction"]),
    ]
    constants = [
        helper.make_tensor("which", onnx.TensorProto.INT64, [1], [NUMERIC_FEATURES.index(field)]),
        helper.make_tensor("nothing", onnx.TensorProto.FLOAT, [1], [NOTHING]),
    ]
    graph = helper.make_graph(nodes, "echo", inputs_of(), [table("prediction", 1)], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return hand_over(folder, made.SerializeToString())
