"""The integration test of a version finds what does not work, and passes what does."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import onnx
import pytest
from onnx import helper

from bike_demand.core.current import PROBLEM
from bike_demand.data.model_inputs import FEATURES
from bike_demand.release.checks import failures
from bike_demand.serving.app import create_app
from bike_demand.serving.live_models import ModelHolder
from bike_demand.serving.onnx_model import OnnxModel, load_model
from bike_demand.store.database import database_at
from tests.service import serve_in_thread
from tests.tiny import constant, hand_over, network

Failures = Callable[..., list[str]]


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Failures]:
    """What does not work in an application with that model, or with another one that it should have."""
    with ExitStack() as stack:

        def look(folder: Path, expected: Path | None = None, *, database: bool = True) -> list[str]:
            made = database_at(f"sqlite:///{(tmp_path / 'log.db').as_posix()}") if database else None
            app = create_app(ModelHolder(load_model(folder, "7")), database=made)
            client = stack.enter_context(serve_in_thread(app))
            return failures(str(client.base_url), load_model(expected or folder, "7"), {})

        yield look


def test_a_trained_model_passes(handoff: Path, found: Failures) -> None:
    assert found(handoff) == []


def test_a_service_that_answers_with_another_model_fails(
    handoff: Path, found: Failures, tmp_path: Path
) -> None:
    output = found(constant(tmp_path / "model", 90.0), handoff)
    assert output == ["the application does not become ready with this model"]


def test_a_service_that_cannot_take_outcomes_fails(handoff: Path, found: Failures) -> None:
    (output,) = found(handoff, database=False)
    assert output.startswith("an outcome gets status 503: ")


def test_model_failing_behavioral_test_fails(tmp_path: Path, found: Failures) -> None:
    (output,) = found(constant(tmp_path / "model", 90.0))
    assert output.startswith("Small machines make few pieces. ")
    assert "90.0 pieces by m03" in output


def test_model_without_inverse_link_fails(tmp_path: Path, found: Failures) -> None:
    output = found(constant(tmp_path / "model", 4.0))
    assert any("4.0 pieces by m17" in each for each in output)


def test_texts_with_commas_and_quotes_match(
    handoff: Path, found: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = {**PROBLEM.example, "material": 'steel, "cold"\nrolled'}
    changed = dataclasses.replace(PROBLEM, more_examples={"quoted": example})
    monkeypatch.setattr("bike_demand.release.checks.PROBLEM", changed)
    assert found(handoff) == []


def test_impossible_numbers_are_found(tmp_path: Path, found: Failures) -> None:
    model = onnx.load_from_string(network(fill=0.0))
    of_grade = {
        "first": helper.make_tensor("first", onnx.TensorProto.INT64, [1], [FEATURES.index("grade")]),
        "zero": helper.make_tensor("zero", onnx.TensorProto.FLOAT, [1], [2000.0]),
    }
    for each in model.graph.initializer:
        each.CopyFrom(of_grade.get(each.name, each))
    output = found(hand_over(tmp_path / "model", model.SerializeToString()))
    assert (
        "It predicts possible numbers for any material. 6000.0 pieces is outside the prediction range"
        in output
    )


def test_a_batch_that_predicts_differently_is_found(
    handoff: Path, found: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bike_demand.release.checks.predict_file", _score_of_something_else)
    assert found(handoff) == ["batch and service give different predictions"]


def _score_of_something_else(_: OnnxModel, source: Path, target: Path) -> int:
    rows = source.read_text(encoding="utf-8").splitlines()[1:]
    target.write_text(
        "begins,prediction,version\n" + "".join(f"{row[:19]},1.0,x\n" for row in rows), encoding="utf-8"
    )
    return len(rows)
