"""The exported file of any model: which estimators can be exported, and that they predict the same."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler

from bike_demand.core.errors import UserError
from bike_demand.data.model_inputs import NUMERIC_FEATURES, TENSOR_NAME, TEXT_FEATURES
from bike_demand.handoff import OUTPUT_NAME, open_session
from bike_demand.training import export
from bike_demand.training.export import check_parity, convert, to_onnx
from bike_demand.training.train import one_thread, predict, with_float32

Matrix = npt.NDArray[np.float32]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():  # a fit on all cores waits long for those that other tests have
        yield


def matrix(rows: int = 600, seed: int = 0) -> Matrix:
    """Random values with one decimal, of which only the even ones are there."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 400, (rows, len(NUMERIC_FEATURES))) / 5).astype(np.float32)


def table(X: Matrix) -> pd.DataFrame:
    texts = {name: np.resize(["steel", "oak"], len(X)) for name in TEXT_FEATURES}
    return pd.DataFrame(X, columns=list(NUMERIC_FEATURES)).assign(**texts)


def inputs(X: Matrix) -> dict[str, npt.NDArray[Any]]:
    """The same rows, as the exported model takes them."""
    return {TENSOR_NAME: X, **{name: table(X)[[name]].to_numpy(object) for name in TEXT_FEATURES}}


def encoded(*steps: Any) -> Pipeline:
    """These steps, after texts are encoded."""
    encoder = OneHotEncoder(sparse_output=False)
    columns = make_column_transformer((encoder, list(TEXT_FEATURES)), remainder="passthrough")
    return make_pipeline(columns, *steps)


def with_nulls(X: Matrix) -> Matrix:
    return np.where(np.random.default_rng(1).random(X.shape) < 0.05, np.nan, X).astype(np.float32)


def amounts(X: Matrix) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.abs(X[:, 0] + 2 * X[:, 1] - X[:, 2]).astype(np.float64)
    return found


MODELS: dict[str, Any] = {
    "gradient boosting, squared error": encoded(HistGradientBoostingRegressor(max_iter=20)),
    "gradient boosting, Poisson loss": encoded(HistGradientBoostingRegressor(loss="poisson", max_iter=20)),
    "gradient boosting, gamma loss": encoded(HistGradientBoostingRegressor(loss="gamma", max_iter=20)),
    "imputed, scaled, linear": encoded(SimpleImputer(), StandardScaler(), Ridge()),
    "scaled, then trees": encoded(StandardScaler(), HistGradientBoostingRegressor(max_iter=20)),
    "scaled to the largest, then trees": encoded(MaxAbsScaler(), HistGradientBoostingRegressor(max_iter=20)),
    "Poisson loss in a pipeline of its own": encoded(
        make_pipeline(SimpleImputer(), HistGradientBoostingRegressor(loss="poisson", max_iter=20))
    ),
    "columns chosen among chosen ones": make_pipeline(
        make_column_transformer((encoded(SimpleImputer())[:1], [*TEXT_FEATURES, *NUMERIC_FEATURES[3:]])),
        HistGradientBoostingRegressor(max_iter=20),
    ),
    "columns chosen in a pipeline of their own": make_pipeline(encoded(SimpleImputer()), Ridge()),
    "words counted": make_pipeline(
        make_column_transformer((CountVectorizer(lowercase=False), "material")), Ridge()
    ),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_regressions_predict_the_same_as_scikit_learn(name: str) -> None:
    X = with_nulls(matrix())
    pipeline = with_float32(MODELS[name]).fit(table(X), amounts(matrix()) + 1)
    model = to_onnx(pipeline)
    assert check_parity(model, pipeline, table(X)) < 0.01
    assert to_onnx(pipeline) == model


def test_a_classification_predicts_the_probability_of_the_second_class() -> None:
    X = matrix()
    pipeline = encoded(HistGradientBoostingClassifier(max_iter=20))
    pipeline.fit(table(X), amounts(X) > 100)
    (found,) = open_session(to_onnx(pipeline)).run([OUTPUT_NAME], inputs(X))
    assert found.shape == (len(X), 1)
    assert found[:, 0] == pytest.approx(pipeline.predict_proba(table(X))[:, 1], abs=1e-6)
    assert predict(pipeline, table(X)) == pytest.approx(pipeline.predict_proba(table(X))[:, 1])


def test_values_between_those_of_the_training_take_the_same_branch() -> None:
    X = matrix()
    # A threshold is the middle of two values.
    between = np.round(X + np.float32(0.1), 1).astype(np.float32)
    pipeline = encoded(HistGradientBoostingRegressor(max_iter=50)).fit(table(X), amounts(X))
    assert check_parity(to_onnx(pipeline), pipeline, table(between)) < 0.01


def test_a_prediction_near_zero_may_differ_as_much_as_its_large_summands_do() -> None:
    X = matrix()
    pipeline = encoded(SimpleImputer(), Ridge()).fit(table(X), amounts(X) * 1e5)
    pipeline[-1].intercept_ -= pipeline.predict(table(X[:1]))[0]
    model = to_onnx(pipeline)
    check_parity(model, pipeline, table(X))
    pipeline[-1].intercept_ += 1e-3 * np.abs(pipeline.predict(table(X))).max()
    with pytest.raises(UserError, match="does not match"):
        check_parity(model, pipeline, table(X))


def test_workaround_for_skl2onnx_thresholds_is_still_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once this fails, `_with_float32_thresholds` can go."""
    monkeypatch.setattr("bike_demand.training.export._with_float32_thresholds", lambda given: given)
    X = matrix()
    pipeline = encoded(HistGradientBoostingRegressor(max_iter=50)).fit(table(X), amounts(X))
    between = np.round(X + np.float32(0.1), 1).astype(np.float32)
    (found,) = open_session(convert(pipeline).SerializeToString()).run(None, inputs(between))
    assert np.abs(found[:, 0] - pipeline.predict(table(between))).max() > 0.05


class Guess(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator that skl2onnx does not know."""

    def fit(self, X: pd.DataFrame, y: npt.NDArray[np.float64]) -> "Guess":
        self.mean_ = float(y.mean())
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:
        return np.full(len(X), self.mean_)


class Silent(Guess):
    """An estimator that fails without a text."""

    def __deepcopy__(self, _: object) -> "Silent":
        raise NotImplementedError


def test_what_cannot_be_exported_is_rejected_by_name() -> None:
    X = matrix(50)
    with pytest.raises(UserError, match=r"Silent\) cannot be exported: NotImplementedError"):
        to_onnx(Pipeline([("model", Silent())]).fit(table(X), amounts(X)))
    with pytest.raises(UserError, match=r"Guess\) cannot be exported"):
        to_onnx(Pipeline([("model", Guess())]).fit(table(X), amounts(X)))
    model = HistGradientBoostingRegressor(max_iter=2, categorical_features=[0])
    with pytest.raises(UserError, match=r"cannot be exported: .* categorical_features"):
        to_onnx(encoded(model).fit(table(X), amounts(X)))


def test_a_model_that_the_runtime_cannot_load_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "single_output", lambda *_: onnx.ModelProto())
    X = matrix(50)
    with pytest.raises(UserError, match=r"Ridge\) cannot be exported: "):
        to_onnx(encoded(SimpleImputer(), Ridge()).fit(table(X), amounts(X)))
