"""The integration test of a model finds what does not work, and passes what does."""

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from bike_demand.core.current import PROBLEM, Inputs
from bike_demand.core.errors import UserError
from bike_demand.release.checks import failures
from bike_demand.serving.onnx_model import OnnxModel
from tests.tiny import constant, network


def test_a_trained_model_passes(handoff: Path) -> None:
    assert failures(handoff) == []


def test_a_model_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    folder = constant(tmp_path / "model", 5.0)
    (folder / "model.onnx").write_bytes(network(fill=6.0))
    with pytest.raises(UserError, match="checksum mismatch"):
        failures(folder)


def test_model_failing_behavioral_test_fails(tmp_path: Path) -> None:
    (output,) = failures(constant(tmp_path / "model", 90.0))
    assert output.startswith("Small machines make few pieces. ")
    assert "90.0 pieces by m03" in output


def test_model_without_inverse_link_fails(tmp_path: Path) -> None:
    output = failures(constant(tmp_path / "model", 4.0))
    assert any("4.0 pieces by m17" in each for each in output)


def test_impossible_numbers_are_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"90000\.0 pieces"):
        failures(constant(tmp_path / "model", 90_000.0))


def test_a_model_that_fails_on_requests_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = OnnxModel.predict

    def fail_in_service(model: OnnxModel, rows: Sequence[Inputs]) -> list[float]:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("no memory")
        return predict(model, rows)

    monkeypatch.setattr(OnnxModel, "predict", fail_in_service)
    assert "the application fails on a request" in failures(constant(tmp_path / "model", 5.0))[0]


def test_texts_with_commas_and_quotes_match(handoff: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = {**PROBLEM.example, "material": 'steel, "cold"\nrolled'}
    changed = dataclasses.replace(PROBLEM, more_examples={"quoted": example})
    monkeypatch.setattr("bike_demand.release.checks.PROBLEM", changed)
    assert failures(handoff) == []


def test_a_batch_that_predicts_differently_is_found(handoff: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bike_demand.release.checks.predict_file", _score_of_something_else)
    assert failures(handoff) == ["batch and service give different predictions"]


def _score_of_something_else(_: OnnxModel, source: Path, target: Path) -> int:
    rows = source.read_text(encoding="utf-8").splitlines()[1:]
    target.write_text(
        "begins,prediction,version\n" + "".join(f"{row[:19]},1.0,x\n" for row in rows), encoding="utf-8"
    )
    return len(rows)
