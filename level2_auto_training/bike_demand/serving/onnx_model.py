"""Loads a model for predictions: ONNX, so that neither pickle nor scikit-learn is needed."""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import onnxruntime
from pydantic import ValidationError

from bike_demand.core.current import INPUT_COLUMNS, MAX_PREDICTION, MIN_PREDICTION, PROBLEM, Inputs
from bike_demand.core.errors import UserError
from bike_demand.core.problem import Columns
from bike_demand.data.model_inputs import to_columns, to_tensors
from bike_demand.handoff import (
    GOLDEN_FILE,
    MODEL_FILE,
    OUTPUT_NAME,
    SCALE_TOLERANCE,
    Handoff,
    open_session,
    read_handoff,
)

GOLDEN_TOLERANCE = 0.001  # relative; wider than at export, because other CPUs sum in other orders

Predict = Callable[[Sequence[Inputs]], list[float]]


class OnnxModel:
    """A loaded model. Thread-safe.

    `version` is its name in responses: the registered version or, if there is none, the digest.
    """

    def __init__(self, session: onnxruntime.InferenceSession, handoff: Handoff, version: str) -> None:
        self._session = session
        self.manifest = manifest = handoff.manifest
        self.digest = manifest.version
        self.version = version
        self._names = manifest.names

    def predict(self, rows: Sequence[Inputs]) -> list[float]:
        """The predictions for rows, rounded to the problem's decimals."""
        return self.predict_columns(to_columns(rows))

    def predict_columns(self, columns: Columns) -> list[float]:
        """The predictions for rows given as input columns, rounded likewise."""
        (predicted,) = self._session.run([OUTPUT_NAME], to_tensors(columns, self._names))
        return [round(value, PROBLEM.decimals) for value in predicted[:, 0].tolist()]


def load_model(folder: Path, version: str | None = None) -> OnnxModel:
    """Load a hand-off, verify it and predict its golden rows. Raises UserError that names the defect."""
    handoff = read_handoff(folder)
    path = folder / MODEL_FILE
    try:
        model = OnnxModel(open_session(handoff.model), handoff, version or handoff.manifest.version)
        (prediction,) = model.predict([Inputs.model_validate_json(json.dumps(PROBLEM.example))])
    except Exception as error:  # onnxruntime's errors have no other common class
        cause = " ".join(str(error).split())
        raise UserError(f"{path}: ONNX Runtime cannot load it ({cause}); train again") from None
    if not MIN_PREDICTION <= prediction <= MAX_PREDICTION:
        raise UserError(
            f"{path}: predicts {prediction} {PROBLEM.unit} for the problem's example, which is not in"
            " its prediction_range; widen that, or train another model"
        )
    check_golden_rows(model.predict, handoff, folder)
    return model


def check_golden_rows(predict: Predict, handoff: Handoff, folder: Path) -> float:
    """Predict the golden rows of the hand-off in that folder again. Returns the largest difference.

    Fields added after training are filled from the problem's example, because the model does not use them.
    Rows that are no longer valid requests are skipped. Raises UserError if a prediction differs, which means
    that a feature of the application has changed its meaning, or if no row is left.
    """
    rows: list[Inputs] = []
    expected: list[float] = []
    for each in handoff.golden:
        given = {**PROBLEM.example, **each.request}
        known = {name: given[name] for name in INPUT_COLUMNS if name in given}
        with suppress(ValidationError):
            rows.append(Inputs.model_validate_json(json.dumps(known)))
            expected.append(each.prediction)
    if not rows:
        raise UserError(f"{folder / GOLDEN_FILE}: none of its rows is a valid request; train again")
    found = list(zip(predict(rows), expected, strict=True))
    # The service rounds its predictions.
    absolute = max(10.0**-PROBLEM.decimals, SCALE_TOLERANCE * max(map(abs, expected)))
    wrong = [each for each in found if not math.isclose(*each, rel_tol=GOLDEN_TOLERANCE, abs_tol=absolute)]
    if wrong:
        predicted, recorded = wrong[0]
        raise UserError(
            f"{folder / GOLDEN_FILE}: {len(wrong)} of {len(rows)} golden rows are predicted differently, like"
            f" {predicted:.{PROBLEM.decimals}f} {PROBLEM.unit} instead of {recorded:.{PROBLEM.decimals}f}: a"
            " feature changed its meaning; give it a new name (see docs: troubleshooting, golden-rows)"
        )
    return max(abs(predicted - recorded) for predicted, recorded in found)
