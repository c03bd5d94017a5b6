"""The plots of an evaluation, which need no network and look the same everywhere."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bike_demand.core.current import PROBLEM, targets
from bike_demand.core.problem import Floats
from bike_demand.core.settings import STATE
from bike_demand.data.frames import concat, period
from bike_demand.training.evaluate import by_slice, by_week

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEEKS = 12
LEARNED, UNSEEN = "#9db4c8", "#c4501b"


def draw(past: pd.DataFrame, held_out: pd.DataFrame, predicted: Floats) -> "dict[str, Figure]":
    """The plots by file name. `predicted` is for the rows of `past`, then of `held_out`: shape [all rows]."""
    # Else matplotlib writes its list of fonts to the home folder.
    os.environ.setdefault("MPLCONFIGDIR", str((STATE / "matplotlib").absolute()))
    from matplotlib.figure import Figure

    def blank(title: str, x: str, y: str) -> Figure:
        figure = Figure(figsize=(6.6, 4))
        # Margins that fit all three; to have them found takes as long as to draw.
        figure.subplots_adjust(left=0.12, right=0.98, bottom=0.14, top=0.92)
        figure.add_subplot().set(title=title, xlabel=x, ylabel=y)
        return figure

    error = f"{PROBLEM.loss.name}, {PROBLEM.loss.unit}"
    of_weeks = blank("Error by week", "week from", error)
    weeks, axes = by_week(concat((past, held_out)), predicted, WEEKS), of_weeks.axes[0]
    colours = [UNSEEN if begin >= period(held_out)[0] else LEARNED for begin, _ in weeks]
    axes.bar([f"{begin:%m-%d}" for begin, _ in weeks], [each for _, each in weeks], color=colours)
    for label, colour in (("learned from", LEARNED), ("not seen", UNSEEN)):
        axes.bar([0], [0], color=colour, label=label)
    axes.legend()

    unseen, truth = predicted[len(past) :], targets(held_out)
    of_slices = blank("Error by slice, days not seen", error, "")
    of_slices.subplots_adjust(left=0.3)
    slices = by_slice(held_out, unseen)[::-1]
    of_slices.axes[0].barh([name for name, _ in slices], [each for _, each in slices], color=UNSEEN)

    against_actual = blank(
        "Predicted against actual, days not seen", f"actual, {PROBLEM.unit}", f"predicted, {PROBLEM.unit}"
    )
    highest = float(max(truth.max(), unseen.max()))
    against_actual.axes[0].plot([0, highest], [0, highest], color="#888888", linewidth=1)
    against_actual.axes[0].scatter(truth, unseen, s=8, color=UNSEEN)
    return {
        "error_by_week.svg": of_weeks,
        "error_by_slice.svg": of_slices,
        "predicted_against_actual.svg": against_actual,
    }


def save(folder: Path, figures: "dict[str, Figure]") -> None:
    """Write the plots to a folder; the same numbers give the same files."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": PROBLEM.name}):
        for name, figure in figures.items():
            figure.savefig(folder / name, metadata={"Date": None})
