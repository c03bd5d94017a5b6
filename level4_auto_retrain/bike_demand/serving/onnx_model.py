"""A model that is ready to predict: ONNX, so nothing is unpickled and scikit-learn is not needed."""

import json
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from bike_demand.core.current import HIGHEST, LOWEST, PROBLEM, Inputs
from bike_demand.core.errors import UserError
from bike_demand.core.problem import Columns
from bike_demand.data.features import INPUT_NAME, to_columns, to_inputs
from bike_demand.handoff import MODEL_FILE, OUTPUT_NAME, Card, read_handoff
from bike_demand.runtime import open_session
from bike_demand.serving.golden_check import reproduce


class OnnxModel:
    """A loaded model. Safe to share between requests.

    `version` is its name in responses: its registered version or, where it has none, its digest.
    """

    def __init__(self, session: onnxruntime.InferenceSession, card: Card, version: str) -> None:
        self._session = session
        self.card = card
        self.digest = card.version
        self.version = version
        self._names = card.names

    def predict(self, rows: Sequence[Inputs]) -> list[float]:
        """The prediction for each row, rounded to the problem's decimals."""
        return self.predict_columns(to_columns(rows))

    def predict_columns(self, columns: Columns) -> list[float]:
        """Likewise for the rows with these columns of inputs."""
        (predicted,) = self._session.run([OUTPUT_NAME], to_inputs(columns, self._names))
        return [round(value, PROBLEM.decimals) for value in predicted[:, 0].tolist()]


def load_model(folder: Path, version: str | None = None) -> OnnxModel:
    """Load a hand-off, verify it and try it once. Raises UserError that says what is wrong with it."""
    handoff = read_handoff(folder)
    path = folder / MODEL_FILE
    try:
        session = open_session(handoff.model)
    except Exception as error:  # onnxruntime's errors have no common class but this
        said = " ".join(str(error).split())
        raise UserError(f"{path}: not a model that ONNX Runtime loads ({said}); ask for a new one") from None
    takes = {each.name: (each.type, each.shape[1:]) for each in session.get_inputs()}
    texts = [each.name for each in handoff.card.inputs if each.type == "string"]
    expected = {name: ("tensor(string)", [1]) for name in texts}
    if numbers := len(handoff.card.inputs) - len(texts):
        expected[INPUT_NAME] = ("tensor(float)", [numbers])
    if takes != expected:
        raise UserError(f"{path}: takes {takes} instead of {expected}; ask for a model that fits")
    if [each.name for each in session.get_outputs()] != [OUTPUT_NAME]:
        raise UserError(f"{path}: does not give `{OUTPUT_NAME}`; ask for a model that fits")
    model = OnnxModel(session, handoff.card, version or handoff.card.version)
    (tried,) = model.predict([Inputs.model_validate_json(json.dumps(PROBLEM.example))])
    if not LOWEST <= tried <= HIGHEST:
        raise UserError(
            f"{path}: predicts {tried} {PROBLEM.unit} for the problem's example; ask for a model that works"
        )
    reproduce(model.predict, handoff.golden, folder)
    return model
