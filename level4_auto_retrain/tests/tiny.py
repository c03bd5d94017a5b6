"""Tiny models in the shape of the real one, for tests that do not need a trained one."""

import json
from pathlib import Path

import onnx
from onnx import helper

from bike_demand.core.current import PROBLEM, Inputs
from bike_demand.data.frames import to_frame
from bike_demand.data.model_inputs import NUMERIC_FEATURES, TEXT_FEATURES
from bike_demand.handoff import write_handoff
from bike_demand.training.export import golden_rows


def table(name: str, columns: int, kind: int = onnx.TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [None, columns])


def inputs_of(numbers: int = len(NUMERIC_FEATURES), name: str = "features") -> list[onnx.ValueInfoProto]:
    """What a model takes: all numbers as one matrix, and each text."""
    return [table(name, numbers), *(table(text, 1, onnx.TensorProto.STRING) for text in TEXT_FEATURES)]


def network(
    inputs: int = len(NUMERIC_FEATURES), name: str = "features", output: str = "prediction", fill: float = 1.0
) -> bytes:
    """A tiny model of that shape that predicts a constant for each row."""
    first = helper.make_node("Gather", [name, "first"], ["column"], axis=1)  # which is never NaN
    zero = helper.make_node("Mul", ["column", "zero"], ["nothing"])
    add = helper.make_node("Add", ["nothing", "fill"], [output])
    constants = [
        helper.make_tensor("first", onnx.TensorProto.INT64, [1], [0]),
        helper.make_tensor("zero", onnx.TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("fill", onnx.TensorProto.FLOAT, [1], [fill]),
    ]
    graph = helper.make_graph(
        [first, zero, add], "tiny", inputs_of(inputs, name), [table(output, 1)], constants
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    content: bytes = made.SerializeToString()
    return content


def hand_over(folder: Path, model: bytes) -> Path:
    """Write the hand-off of a model, with the problem's example as its golden row; the folder."""
    example = to_frame([Inputs.model_validate_json(json.dumps(PROBLEM.example))])
    write_handoff(folder, model, golden_rows(model, example))
    return folder


def constant(folder: Path, answer: float) -> Path:
    """The hand-off of a model that predicts this for every row; the folder."""
    return hand_over(folder, network(fill=answer))
