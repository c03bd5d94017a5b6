"""Loads a model for predictions: ONNX, so that neither pickle nor scikit-learn is needed."""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import onnxruntime
from pydantic import ValidationError

from bike_demand.core.current import HIGHEST, INPUT_COLUMNS, LOWEST, PROBLEM, Inputs
from bike_demand.core.errors import UserError
from bike_demand.core.problem import Columns
from bike_demand.data.features import INPUT_NAME, to_columns, to_inputs
from bike_demand.handoff import GOLDEN_FILE, MODEL_FILE, OUTPUT_NAME, Card, Golden, open_session, read_handoff

TOLERANCE = 0.001  # relative difference allowed for golden predictions: CPUs sum in different orders


class OnnxModel:
    """A loaded model. Thread-safe.

    `version` is its name in responses: the registered version or, if there is none, the digest.
    """

    def __init__(self, session: onnxruntime.InferenceSession, card: Card, version: str) -> None:
        self._session = session
        self.card = card
        self.digest = card.version
        self.version = version
        self._names = card.names

    def predict(self, rows: Sequence[Inputs]) -> list[float]:
        """The predictions for rows, rounded to the problem's decimals."""
        return self.predict_columns(to_columns(rows))

    def predict_columns(self, columns: Columns) -> list[float]:
        """The predictions for rows given as input columns, rounded likewise."""
        (predicted,) = self._session.run([OUTPUT_NAME], to_inputs(columns, self._names))
        return [round(value, PROBLEM.decimals) for value in predicted[:, 0].tolist()]


def load_model(folder: Path, version: str | None = None) -> OnnxModel:
    """Load a hand-off, verify it and predict its golden rows. Raises UserError that names the defect."""
    handoff = read_handoff(folder)
    path = folder / MODEL_FILE
    try:
        session = open_session(handoff.model)
    except Exception as error:  # onnxruntime's errors have no other common class
        cause = " ".join(str(error).split())
        raise UserError(f"{path}: not a model that ONNX Runtime loads ({cause}); ask for a new one") from None
    takes = {each.name: (each.type, each.shape[1:]) for each in session.get_inputs()}
    texts = [each.name for each in handoff.card.inputs if each.type == "string"]
    expected = {name: ("tensor(string)", [1]) for name in texts}
    if numbers := len(handoff.card.inputs) - len(texts):
        expected[INPUT_NAME] = ("tensor(float)", [numbers])
    if takes != expected:
        raise UserError(f"{path}: takes {takes} instead of {expected}; ask for a model that fits")
    if [each.name for each in session.get_outputs()] != [OUTPUT_NAME]:
        raise UserError(f"{path}: has no output `{OUTPUT_NAME}`; ask for a model that fits")
    model = OnnxModel(session, handoff.card, version or handoff.card.version)
    (tried,) = model.predict([Inputs.model_validate_json(json.dumps(PROBLEM.example))])
    if not LOWEST <= tried <= HIGHEST:
        raise UserError(
            f"{path}: predicts {tried} {PROBLEM.unit} for the problem's example; ask for a model that works"
        )
    reproduce(model.predict, handoff.golden, folder)
    return model


def reproduce(predict: Callable[[Sequence[Inputs]], list[float]], golden: Golden, folder: Path) -> float:
    """Predict the golden rows of the hand-off in that folder again. Returns the largest difference.

    Fields added since are filled from the problem's example, because the model does not use them. Rows that
    are no longer valid requests are skipped. Raises UserError if a prediction differs, which means that a
    feature of the application has changed its meaning, or if no row is left.
    """
    rows: list[Inputs] = []
    expected: list[float] = []
    for each in golden:
        given = {**PROBLEM.example, **each.request}
        known = {name: given[name] for name in INPUT_COLUMNS if name in given}
        with suppress(ValidationError):
            rows.append(Inputs.model_validate_json(json.dumps(known)))
            expected.append(each.prediction)
    if not rows:
        raise UserError(f"{folder / GOLDEN_FILE}: no row is a valid request any more; train a new model")
    found = list(zip(predict(rows), expected, strict=True))
    rounding = 10.0**-PROBLEM.decimals  # the service rounds its predictions
    wrong = [each for each in found if not math.isclose(*each, rel_tol=TOLERANCE, abs_tol=rounding)]
    if wrong:
        now, then = wrong[0]
        raise UserError(
            f"{folder / GOLDEN_FILE}: {len(wrong)} of {len(rows)} golden rows have another prediction, like"
            f" {now:.{PROBLEM.decimals}f} {PROBLEM.unit} instead of {then:.{PROBLEM.decimals}f}; a feature"
            " that changed its meaning needs a new name (see docs: troubleshooting, golden-rows)"
        )
    return max(abs(now - then) for now, then in found)
