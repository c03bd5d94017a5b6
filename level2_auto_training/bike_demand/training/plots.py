"""The plots of an evaluation, as SVG files: they need no network and look the same everywhere."""

import os
from pathlib import Path

import pandas as pd

from bike_demand.core.current import PROBLEM, targets
from bike_demand.core.problem import Floats
from bike_demand.core.settings import STATE
from bike_demand.data.frames import concat, period
from bike_demand.training.evaluate import by_slice, by_week

WEEKS = 12
LEARNED, UNSEEN = "#9db4c8", "#c4501b"


def draw(folder: Path, past: pd.DataFrame, held_out: pd.DataFrame, predicted: Floats) -> None:
    """Write error_by_week.svg, error_by_slice.svg and predicted_against_actual.svg.

    `predicted` is for the rows of `past` and then of `held_out`, shape [all rows].
    """
    # Else matplotlib writes its list of fonts to the home folder.
    os.environ.setdefault("MPLCONFIGDIR", str((STATE / "matplotlib").absolute()))
    import matplotlib as mpl
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    unseen = predicted[len(past) :]
    # The same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": PROBLEM.name, "font.size": 9}):

        def blank(title: str, x: str, y: str) -> Figure:
            figure = Figure(figsize=(6, 3.6))
            # Margins that fit all three; to have them found takes as long as to draw.
            figure.subplots_adjust(left=0.12, right=0.98, bottom=0.14, top=0.92)
            figure.add_subplot().set(title=title, xlabel=x, ylabel=y)
            return figure

        def save(figure: Figure, name: str) -> None:
            figure.savefig(folder / name, metadata={"Date": None})

        error = f"{PROBLEM.loss.name}, {PROBLEM.loss.unit}"
        figure = blank("Error by week", "week from", error)
        weeks = by_week(concat((past, held_out)), predicted, WEEKS)
        colours = [UNSEEN if begin >= period(held_out)[0] else LEARNED for begin, _ in weeks]
        axes = figure.axes[0]
        axes.bar([f"{begin:%m-%d}" for begin, _ in weeks], [each for _, each in weeks], color=colours)
        for label, colour in (("learned from", LEARNED), ("not seen", UNSEEN)):
            axes.bar([0], [0], color=colour, label=label)
        axes.legend()
        save(figure, "error_by_week.svg")

        figure = blank("Error by slice, days not seen", error, "")
        figure.subplots_adjust(left=0.3)
        slices = by_slice(held_out, unseen)[::-1]
        figure.axes[0].barh([name for name, _ in slices], [each for _, each in slices], color=UNSEEN)
        save(figure, "error_by_slice.svg")

        figure = blank(
            "Predicted against actual, days not seen", f"actual, {PROBLEM.unit}", f"predicted, {PROBLEM.unit}"
        )
        axes, truth = figure.axes[0], targets(held_out)
        highest = float(max(truth.max(), unseen.max()))
        axes.plot([0, highest], [0, highest], color="#888888", linewidth=1)
        axes.scatter(truth, unseen, s=8, color=UNSEEN)
        save(figure, "predicted_against_actual.svg")
