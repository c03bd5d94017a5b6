"""The evaluation of a holdout model: its numbers by hand, and its plots."""

import math
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from bike_demand.core.current import Row
from bike_demand.data.frames import concat, input_columns
from bike_demand.training.evaluate import (
    HELD_OUT_COLOR,
    TRAINED_COLOR,
    beats_mean,
    by_slice,
    by_week,
    draw,
    evaluate,
    predict,
    save_plots,
)
from tests.ingested import frame
from tests.toy import MACHINES
from tests.tree import contents

FIRST = datetime(2012, 1, 2)


def row_at(number: int, amount: int) -> Row:
    return Row(
        begins=FIRST + timedelta(days=number // 24),
        machine=MACHINES[number % 24],
        special=False,
        attended=1,
        grade=1,
        heat=4.0,
        core_heat=4.0,
        speed=10.0,
        material="steel",
        amount=amount,
    )


PAST = frame([row_at(number, 10 if number % 2 else 30) for number in range(7 * 24)])
HELD_OUT = frame([row_at(7 * 24 + number, 40) for number in range(48)])


def test_metrics_include_baselines_in_label_unit() -> None:
    metrics = evaluate(PAST, HELD_OUT, np.array([43.0, 33.0] * 24))
    assert metrics == {
        "skill": 0.75,  # of the baseline's error that is saved
        "holdout_error": 5.0,  # 3 too many, 7 too few
        "bias": -2.0,
        "error_of_mean": 20.0,  # the mean of the past is 20
        "error_of_baseline": 20.0,  # 30 and 10 in turn, so off by 10 and 30
        "rows": 48.0,
    }


def test_a_baseline_takes_the_mean_where_the_row_a_week_before_is_missing() -> None:
    metrics = evaluate(PAST[24:], HELD_OUT, np.full(48, 40.0))
    assert metrics["holdout_error"] == 0
    assert metrics["error_of_baseline"] == pytest.approx(20.0)


@pytest.mark.parametrize(("holdout_error", "passed"), [(7.9, True), (8.1, False), (math.nan, False)])
def test_a_holdout_model_passes_if_it_learned_something(holdout_error: float, passed: bool) -> None:
    assert beats_mean({"holdout_error": holdout_error, "error_of_mean": 10.0}, 0.8) is passed


def test_errors_by_week_are_counted_back_from_the_last_row() -> None:
    rows = concat([PAST, HELD_OUT])
    predicted = rows["amount"].to_numpy(dtype=float)
    predicted[-24:] += 14
    (older, _), (newest, error) = by_week(rows, predicted, 5)
    assert newest == FIRST + timedelta(days=2)
    assert older == newest - timedelta(days=7)
    assert error == pytest.approx(2.0)


def test_errors_by_slice_are_means_over_its_rows() -> None:
    predicted = np.full(48, 40.0)
    predicted[5] += 12  # of a small machine
    errors = dict(by_slice(HELD_OUT, predicted))
    assert errors == {
        "small machines": 1.0,
        "large machines": 0.0,
        "attended": 0.25,
        "grade A": 0.25,
    }


def test_a_handoff_predicts_like_the_service(handoff: Path) -> None:
    from bike_demand.serving.onnx_model import load_model

    answers = predict(handoff, HELD_OUT)
    assert answers.shape == (48,)
    np.testing.assert_allclose(
        answers, load_model(handoff).predict_columns(input_columns(HELD_OUT)), atol=0.01
    )


def test_week_without_training_rows_is_drawn_as_holdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = concat([PAST, HELD_OUT])
    past, late = rows[:48], rows[72:]  # the first day of the holdout has no rows
    figure = draw(past, late, np.full(len(past) + len(late), 35.0))["error_by_week.svg"]
    bars = figure.axes[0].patches[:2]
    assert [bar.get_facecolor() for bar in bars] == [to_rgba(TRAINED_COLOR), to_rgba(HELD_OUT_COLOR)]


def test_plots_are_whole_need_no_network_and_are_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    predicted = np.full(len(PAST) + len(HELD_OUT), 35.0)
    save_plots(tmp_path / "plots", draw(PAST, HELD_OUT, predicted))
    first = contents(tmp_path / "plots")
    assert len(first) == 3
    for content in first.values():
        tree = ElementTree.fromstring(content)
        assert tree.tag.endswith("svg")
        for element in tree.iter():
            assert not any("http" in value for key, value in element.attrib.items() if key.endswith("href"))
    save_plots(tmp_path / "plots", draw(PAST, HELD_OUT, predicted))
    assert contents(tmp_path / "plots") == first
