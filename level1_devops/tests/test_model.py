"""Loading a hand-off: each fault is reported in one line."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from bike_demand.core.current import PROBLEM
from bike_demand.core.errors import UserError
from bike_demand.core.problem import Columns
from bike_demand.data import model_inputs
from bike_demand.data.model_inputs import NUMERIC_FEATURES, TEXT_FEATURES
from bike_demand.handoff import read_handoff
from bike_demand.serving.onnx_model import check_golden_rows, load_model, load_model_if_present


@pytest.fixture
def given(tmp_path: Path, handoff: Path) -> Path:
    """A copy of a hand-off, to be spoilt."""
    return shutil.copytree(handoff, tmp_path / "given")


def sign(folder: Path) -> None:
    """Write the checksums and the version anew, as somebody does who makes a hand-off by hand."""
    model = (folder / "model.onnx").read_bytes()
    manifest = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    manifest["version"] = hashlib.sha256(model).hexdigest()[:12]
    (folder / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    sums = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("model.onnx", "model.json", "golden.json")
    ]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8", newline="\n")


def table(name: str, columns: int, kind: int = onnx.TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [None, columns])


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
    given = [table(name, inputs), *(table(text, 1, onnx.TensorProto.STRING) for text in TEXT_FEATURES)]
    graph = helper.make_graph([first, zero, add], "tiny", given, [table(output, 1)], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    content: bytes = made.SerializeToString()
    return content


def put(model: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(model)
        sign(folder)

    return change


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        manifest = folder / "model.json"
        text = manifest.read_text(encoding="utf-8")
        assert old in text
        manifest.write_text(text.replace(old, new, 1), encoding="utf-8")
        sign(folder)

    return change


def golden(change_rows: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "golden.json"
        file.write_text(json.dumps(change_rows(json.loads(file.read_bytes()))), encoding="utf-8")
        sign(folder)

    return change


def spoil(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


def mismatch(folder: Path) -> None:
    manifest = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    sign(folder)
    text = (folder / "model.json").read_text(encoding="utf-8").replace(manifest["version"], "000000000000")
    (folder / "model.json").write_text(text, encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    sums = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = [f"{digest}  model.json" if line.endswith("model.json") else line for line in sums]
    (folder / "SHA256SUMS").write_text("\n".join(sums), encoding="utf-8", newline="\n")


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no model file": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx is missing"),
    "no description": (lambda folder: (folder / "model.json").unlink(), "model.json is missing"),
    "no checksums": (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
    "a flipped bit in the model": (spoil("model.onnx"), "model.onnx: checksum mismatch"),
    "a flipped bit in the description": (spoil("model.json"), "model.json: checksum mismatch"),
    "a flipped bit in the checksums": (spoil("SHA256SUMS"), "checksum mismatch"),
    "empty checksums": (write("SHA256SUMS", b""), "checksum mismatch"),
    "checksums of something else": (write("SHA256SUMS", b"\xff\x00 x\n"), "checksum mismatch"),
    "a version of another model": (mismatch, "is another model's"),
    "description without output": (edit('"output"', '"outcome"'), "model.json: output: Field required"),
    "no golden rows": (lambda folder: (folder / "golden.json").unlink(), "golden.json is missing"),
    "empty golden rows": (golden(lambda _: []), "golden.json: "),
    "golden rows without predictions": (
        golden(lambda rows: [{"request": row["request"]} for row in rows]),
        "golden.json: 0.prediction: Field required",
    ),
    "golden rows of other fields": (
        golden(lambda rows: [{**row, "request": {"begins": "never"}} for row in rows]),
        "golden.json: none of its rows is a valid request",
    ),
    "another prediction": (
        golden(lambda rows: [rows[0] | {"prediction": rows[0]["prediction"] * 1.01}, *rows[1:]]),
        "golden.json: 1 of 47 golden rows are predicted differently",
    ),
    "another input": (edit('"speed"', '"month"'), "the model uses the feature month"),
    "no model at all": (put(b"hello"), "ONNX Runtime cannot load it"),
    "too few columns": (
        put(network(inputs=len(NUMERIC_FEATURES) - 1)),
        "Got invalid dimensions for input: features",
    ),
    "another input name": (put(network(name="rows")), "Required inputs (['rows']) are missing"),
    "another output name": (put(network(output="variable")), "Invalid output name"),
    "negative predictions": (put(network(fill=-3.0)), "predicts -3.0 pieces"),
    "predictions that are no number": (put(network(fill=float("nan"))), "predicts nan pieces"),
}


@pytest.mark.parametrize("case", list(DAMAGE))
def test_a_damaged_handoff_is_rejected_in_one_line(given: Path, case: str) -> None:
    change, fragment = DAMAGE[case]
    change(given)
    with pytest.raises(UserError) as caught:
        load_model_if_present(given)
    assert fragment in str(caught.value)
    assert str(given) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_constant_model_is_accepted(given: Path) -> None:
    put(network(fill=5.0))(given)
    golden(lambda rows: [row | {"prediction": 5.0} for row in rows])(given)
    assert load_model(given).manifest.name == "toy"


def test_a_model_is_rejected_once_a_feature_means_something_else(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renumbered(columns: Columns) -> Columns:
        found = PROBLEM.features(columns)
        return {**found, "position": (found["position"] + 12) % 24}

    load_model(given)
    monkeypatch.setattr(model_inputs, "PROBLEM", replace(PROBLEM, features=renumbered))
    with pytest.raises(UserError, match="golden rows are predicted differently"):
        load_model(given)


def test_golden_rows_near_zero_may_differ_as_much_as_large_summands_do(handoff: Path) -> None:
    given = read_handoff(handoff)
    rows = tuple(
        row.model_copy(update={"prediction": value})
        for row, value in zip(given.golden, (1e5, 0.0), strict=False)
    )
    recorded = replace(given, golden=rows)
    assert check_golden_rows(lambda _: [1e5, 0.9], recorded, handoff) == 0.9
    with pytest.raises(UserError, match="1 of 2 golden rows"):
        check_golden_rows(lambda _: [1e5, 1.1], recorded, handoff)


def test_golden_rows_with_old_fields_are_adapted(given: Path) -> None:
    put(network(fill=5.0))(given)
    old = {"begins": "2011-01-01T00:00:00", "colour": "red"}
    golden(lambda _: [{"request": old, "prediction": 5.0}])(given)
    assert load_model(given).manifest.name == "toy"


def test_missing_or_empty_folder_means_no_model(tmp_path: Path) -> None:
    assert load_model_if_present(tmp_path / "nothing") is None
    assert load_model_if_present(tmp_path) is None


def test_a_file_in_the_place_of_the_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"")
    with pytest.raises(UserError, match="missing"):
        load_model_if_present(tmp_path / "model")
