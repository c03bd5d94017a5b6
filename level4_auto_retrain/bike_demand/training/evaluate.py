"""Evaluates a model on rows that it was not trained on."""

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bike_demand.core.current import PROBLEM, TIME, constant_baseline, further_metrics, targets
from bike_demand.core.problem import Floats
from bike_demand.core.settings import STATE
from bike_demand.data.frames import concat, input_columns, keys_of, mean_loss, period_end, time_range
from bike_demand.handoff import read_handoff

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEEK = timedelta(days=7)
WEEKS = 12  # in the plot
TRAINED_COLOR, HELD_OUT_COLOR = "#9db4c8", "#c4501b"


def predict(folder: Path, rows: pd.DataFrame) -> Floats:
    """Predict rows with a hand-off's model, shape [rows]. Raises UserError if the hand-off is damaged."""
    return read_handoff(folder).predict(input_columns(rows))


def evaluate(past: pd.DataFrame, held_out: pd.DataFrame, predicted: Floats) -> dict[str, float]:
    """Mean errors of the model and two simple baselines on the held-out rows, and the problem's metrics.

    `holdout_error` and `bias` (positive: too high) are the model's, `error_of_mean` is the error of always
    predicting the mean of the training rows, `error_of_baseline` that of the problem's baseline.
    `skill` is the share of the baseline's error that the model saves, on rows for which the baseline is
    known; omitted if there are none.
    """
    truth = targets(held_out)
    mean = float(targets(past).mean())
    baseline = np.full_like(truth, constant_baseline(targets(past)))
    paired = np.full(len(truth), fill_value=True)
    if PROBLEM.season is not None:
        both = concat((past, held_out))
        at = pd.MultiIndex.from_arrays([held_out[TIME] - PROBLEM.season, keys_of(held_out)])
        before = pd.Series(targets(both), index=[both[TIME], keys_of(both)]).reindex(at).to_numpy()
        paired = ~np.isnan(before)
        baseline = np.where(paired, before, baseline)
    losses, of_baseline = PROBLEM.loss.per_row(predicted, truth), PROBLEM.loss.per_row(baseline, truth)
    to_save = float(of_baseline[paired].sum())
    skill = 1 - float(losses[paired].sum()) / to_save if to_save else None
    metrics = further_metrics(predicted, truth) | {
        "holdout_error": mean_loss(losses, held_out),
        "bias": float((predicted - truth).mean()),
        "error_of_mean": mean_loss(PROBLEM.loss.per_row(np.full_like(truth, mean), truth), held_out),
        "error_of_baseline": mean_loss(of_baseline, held_out),
        "rows": float(len(held_out)),
    }
    return metrics if skill is None else metrics | {"skill": skill}


def beats_mean(metrics: dict[str, float], worst_ratio: float) -> bool:
    """Whether the error is at most `worst_ratio` times that of predicting the mean."""
    return metrics["holdout_error"] <= worst_ratio * metrics["error_of_mean"]  # False for NaN


def by_week(rows: pd.DataFrame, predicted: Floats, weeks: int) -> list[tuple[datetime, float]]:
    """Mean error per week, counted back from the last row: (start, error)."""
    ages = ((time_range(rows)[1] - rows[TIME]).dt.days // 7).to_numpy()
    errors = PROBLEM.loss.per_row(predicted, targets(rows))
    return [
        (period_end(rows) - (age + 1) * WEEK, float(errors[chosen].mean()))
        for age in reversed(range(weeks))
        if (chosen := ages == age).any()
    ]


def by_slice(rows: pd.DataFrame, predicted: Floats) -> list[tuple[str, float]]:
    """Mean error for each of the problem's slices that has rows."""
    columns, errors = input_columns(rows), PROBLEM.loss.per_row(predicted, targets(rows))
    chosen = {name: belongs(columns) for name, belongs in PROBLEM.slices.items()}
    return [(name, float(errors[those].mean())) for name, those in chosen.items() if those.any()]


def draw(past: pd.DataFrame, held_out: pd.DataFrame, predicted: Floats) -> "dict[str, Figure]":
    """The plots by file name. `predicted` covers the rows of `past`, then of `held_out`: shape [all rows]."""
    # Otherwise Matplotlib writes its font cache to the home folder.
    os.environ.setdefault("MPLCONFIGDIR", str((STATE / "matplotlib").absolute()))
    from matplotlib.figure import Figure

    def blank(title: str, x: str, y: str) -> Figure:
        figure = Figure(figsize=(6.6, 4))
        # Fixed margins that fit all three plots: computing them takes as long as drawing.
        figure.subplots_adjust(left=0.12, right=0.98, bottom=0.14, top=0.92)
        figure.add_subplot().set(title=title, xlabel=x, ylabel=y)
        return figure

    error = f"{PROBLEM.loss.name}, {PROBLEM.loss.unit}"
    of_weeks = blank("Error by week", "week from", error)
    weeks, axes = by_week(concat((past, held_out)), predicted, WEEKS), of_weeks.axes[0]
    colors = [HELD_OUT_COLOR if begin >= period_end(past) else TRAINED_COLOR for begin, _ in weeks]
    axes.bar([f"{begin:%m-%d}" for begin, _ in weeks], [each for _, each in weeks], color=colors)
    for label, color in (("training rows", TRAINED_COLOR), ("held out", HELD_OUT_COLOR)):
        axes.bar([0], [0], color=color, label=label)
    axes.legend()

    unseen, truth = predicted[len(past) :], targets(held_out)
    of_slices = blank("Error by slice, holdout", error, "")
    of_slices.subplots_adjust(left=0.3)
    slices = by_slice(held_out, unseen)[::-1]
    of_slices.axes[0].barh([name for name, _ in slices], [each for _, each in slices], color=HELD_OUT_COLOR)

    against_actual = blank(
        "Predicted against actual, holdout", f"actual, {PROBLEM.unit}", f"predicted, {PROBLEM.unit}"
    )
    highest = float(max(truth.max(), unseen.max()))
    against_actual.axes[0].plot([0, highest], [0, highest], color="#888888", linewidth=1)
    against_actual.axes[0].scatter(truth, unseen, s=8, color=HELD_OUT_COLOR)
    return {
        "error_by_week.svg": of_weeks,
        "error_by_slice.svg": of_slices,
        "predicted_against_actual.svg": against_actual,
    }


def save_plots(folder: Path, figures: "dict[str, Figure]") -> None:
    """Write the plots to a folder. Equal numbers give equal files."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": PROBLEM.name}):
        for name, figure in figures.items():
            figure.savefig(folder / name, metadata={"Date": None})
