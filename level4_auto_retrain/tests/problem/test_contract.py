"""What any problem has to keep to: the project's own, and the toy on which the practice is tested."""

import inspect
import math
from collections.abc import Iterator

import numpy as np
import pytest

from bike_demand.core.problem import Problem
from bike_demand.data.model_inputs import TENSOR_NAME
from bike_demand.handoff import open_session
from bike_demand.problem import PROBLEM
from bike_demand.training import export
from bike_demand.training.problem_check import some_prediction_fails
from bike_demand.training.train import one_thread, predict
from tests import toy
from tests.problem.samples import columns_of, sample_labels, sample_rows, table

ROWS = 400


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():  # a fit on all cores waits long for those that other tests have
        yield


@pytest.fixture(params=[PROBLEM, toy.PROBLEM], ids=lambda problem: problem.name)
def problem(request: pytest.FixtureRequest) -> Problem:
    given: Problem = request.param
    return given


def test_texts_and_ranges_are_set(problem: Problem) -> None:
    texts = (problem.name, problem.title, problem.description, problem.unit, problem.loss.name)
    assert all(text.strip() == text != "" for text in texts)
    assert problem.label_description
    assert problem.prediction_range[0] < problem.prediction_range[1]
    assert problem.decimals >= 0


def test_its_examples_are_valid(problem: Problem) -> None:
    examples = [problem.example, *problem.more_examples.values()]
    assert len(columns_of(problem, examples)[problem.time]) == len(examples)
    assert all("" != name != "One row" for name in problem.more_examples)


def test_its_fields_are_described(problem: Problem) -> None:
    for field in problem.fields:
        assert field.description, field.name
        low, high = field.valid
        assert low < high, field.name
        assert field.kind in ("number", "integer", "category", "boolean", "text")
        if field.categories:
            assert len(set(field.categories)) == high - low + 1, field.name
        if field.expected:
            assert low <= field.expected.low < field.expected.high <= high, field.name
            assert field.expected.change is None or field.expected.change > 0, field.name
            assert field.kind in ("number", "integer"), field.name


def test_null_is_accepted_only_for_nullable_fields(problem: Problem) -> None:
    for field in problem.fields:
        row = {**problem.example, field.name: None}
        if field.nullable:
            columns_of(problem, [row])
        else:
            with pytest.raises(ValueError, match=field.name):
                columns_of(problem, [row])


def test_label_is_not_a_feature(problem: Problem) -> None:
    inputs, features = problem.inputs.model_fields, problem.features(columns_of(problem, [problem.example]))
    for name in problem.label.model_fields:
        assert name not in inputs
        assert name not in features
    # Where it needs another column than those of inputs, this raises a KeyError.
    assert features.keys()


def test_features_are_numbers_or_texts_and_null_only_where_an_input_is(problem: Problem) -> None:
    complete = [row for row in sample_rows(problem, ROWS) if None not in row.values()]
    found = table(problem.features(columns_of(problem, [problem.example, *complete])))
    assert np.isfinite(found.select_dtypes("float32")).all(axis=None)
    features = problem.features(columns_of(problem, sample_rows(problem, ROWS)))
    assert table(features).shape == (ROWS, len(features))


def test_features_of_a_row_do_not_depend_on_other_rows(problem: Problem) -> None:
    rows = sample_rows(problem, 50)
    together = problem.features(columns_of(problem, rows))
    names = list(together)
    for position, row in enumerate(rows):
        single = problem.features(columns_of(problem, [row]))
        assert list(single) == names
        assert table(single).iloc[0].equals(table(together).iloc[position])
    turned = table(problem.features(columns_of(problem, rows[::-1])))
    assert turned[::-1].reset_index(drop=True).equals(table(together))


def test_features_leave_the_columns_as_they_were(problem: Problem) -> None:
    rows = sample_rows(problem, 50)
    columns = columns_of(problem, rows)
    problem.features(columns)
    for name, column in columns_of(problem, rows).items():
        np.testing.assert_array_equal(columns[name], column)


def test_the_loss_is_lowest_for_right_predictions_and_never_negative(problem: Problem) -> None:
    targets = np.asarray(problem.target(sample_labels(problem, ROWS)), dtype=np.float64)
    right = problem.loss.per_row(targets, targets)
    assert right.shape == targets.shape
    assert (right >= 0).all()
    low, high = problem.prediction_range
    for guess in (np.full(ROWS, low), np.full(ROWS, high), targets[::-1], (targets + low) / 2):
        assert (problem.loss.per_row(guess, targets) >= right).all()
    assert problem.loss.per_row(np.full(ROWS, low), targets).mean() > right.mean()


def test_further_metrics_are_numbers(problem: Problem) -> None:
    targets = np.asarray(problem.target(sample_labels(problem, ROWS)), dtype=np.float64)
    for name, metric in problem.metrics.items():
        assert np.isfinite(metric(targets[::-1], targets)), name


def test_target_of_scalar_equals_target_of_array(problem: Problem) -> None:
    labels = sample_labels(problem, 20)
    assert [float(problem.target(label)) for label in labels.tolist()] == problem.target(labels).tolist()


def test_slices_are_masks_of_rows(problem: Problem) -> None:
    columns = columns_of(problem, sample_rows(problem, ROWS))
    for name, chosen in problem.slices.items():
        mask = chosen(columns)
        assert mask.dtype == np.bool_, name
        assert mask.shape == (ROWS,), name


def test_behavioral_tests_have_valid_rows(problem: Problem) -> None:
    sentences = [test.sentence for test in problem.behavior_tests]
    assert len(set(sentences)) == len(sentences)
    for test in problem.behavior_tests:
        rows = test.rows()
        assert len(rows) > 0, test.sentence
        assert test.rows() == rows, test.sentence
        columns_of(problem, rows)


def test_behavioral_tests_can_fail(problem: Problem) -> None:
    for test in problem.behavior_tests:
        assert some_prediction_fails(test, problem.prediction_range, len(test.rows())), test.sentence


def test_the_model_is_described_by_params_with_defaults(problem: Problem) -> None:
    params = problem.params()
    assert problem.params.model_validate(params.model_dump()) == params
    with pytest.raises(ValueError, match="no_such_param"):
        problem.params.model_validate({"no_such_param": 1})
    assert list(inspect.signature(problem.build_model).parameters)


def test_the_model_fits_and_its_export_predicts_the_same(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = problem.features(columns_of(problem, sample_rows(problem, ROWS)))
    X, targets = table(features), problem.target(sample_labels(problem, ROWS))
    pipeline = problem.build_model(problem.params()).fit(X, targets)
    numbers, texts = X.select_dtypes("float32").columns, X.select_dtypes(exclude="float32").columns
    for name, value in (("FEATURES", X.columns), ("NUMERIC_FEATURES", numbers), ("TEXT_FEATURES", texts)):
        monkeypatch.setattr(export, name, tuple(value))
    inputs = {TENSOR_NAME: X[numbers].to_numpy()} | {name: X[[name]].to_numpy(object) for name in texts}
    (exported,) = open_session(export.to_onnx(pipeline)).run(None, inputs)
    assert exported.shape == (ROWS, 1)
    predictions = predict(pipeline, X)
    assert all(map(math.isfinite, predictions))
    np.testing.assert_allclose(exported[:, 0], predictions, rtol=1e-4, atol=10.0 ** -(problem.decimals + 1))


def test_the_model_is_the_same_for_the_same_rows(problem: Problem) -> None:
    X = table(problem.features(columns_of(problem, sample_rows(problem, ROWS))))
    targets = problem.target(sample_labels(problem, ROWS))
    first, second = (predict(problem.build_model(problem.params()).fit(X, targets), X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
