"""The plots of an evaluation, as SVG files: they need no network and look the same everywhere."""

import os
from collections.abc import Sequence
from pathlib import Path

from bike_demand.data.schema import Hour
from bike_demand.data.target import ERROR_NAME, ERROR_UNIT, UNIT, Floats, targets
from bike_demand.settings import STATE
from bike_demand.training.evaluate import by_hour, by_week

WEEKS = 12
LEARNED, UNSEEN = "#9db4c8", "#c4501b"


def draw(folder: Path, past: Sequence[Hour], held_out: Sequence[Hour], predicted: Floats) -> None:
    """Write error_by_week.svg, error_by_hour.svg and predicted_against_actual.svg.

    `predicted` is for the rows of `past` and then of `held_out`, shape [all rows].
    """
    # Else matplotlib writes its list of fonts to the home folder.
    os.environ.setdefault("MPLCONFIGDIR", str((STATE / "matplotlib").absolute()))
    import matplotlib as mpl
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    unseen = predicted[len(past) :]
    # The same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": "bike-demand", "font.size": 9}):

        def blank(title: str, x: str, y: str) -> Figure:
            figure = Figure(figsize=(6, 3.6))
            # Margins that fit all three; to have them found takes as long as to draw.
            figure.subplots_adjust(left=0.12, right=0.98, bottom=0.14, top=0.92)
            figure.add_subplot().set(title=title, xlabel=x, ylabel=y)
            return figure

        def save(figure: Figure, name: str) -> None:
            figure.savefig(folder / name, metadata={"Date": None})

        figure = blank("Error by week", "week from", f"{ERROR_NAME}, {ERROR_UNIT}")
        weeks = by_week([*past, *held_out], predicted, WEEKS)
        colours = [UNSEEN if begin >= held_out[0].timestamp else LEARNED for begin, _ in weeks]
        axes = figure.axes[0]
        axes.bar([f"{begin:%m-%d}" for begin, _ in weeks], [error for _, error in weeks], color=colours)
        for label, colour in (("learned from", LEARNED), ("not seen", UNSEEN)):
            axes.bar([0], [0], color=colour, label=label)
        axes.legend()
        save(figure, "error_by_week.svg")

        figure = blank("Error by hour, days not seen", "hour", f"{ERROR_NAME}, {ERROR_UNIT}")
        hours = by_hour(held_out, unseen)
        figure.axes[0].bar([hour for hour, _ in hours], [error for _, error in hours], color=UNSEEN)
        save(figure, "error_by_hour.svg")

        figure = blank("Predicted against actual, days not seen", f"actual, {UNIT}", f"predicted, {UNIT}")
        axes, truth = figure.axes[0], targets(held_out)
        highest = float(max(truth.max(), unseen.max()))
        axes.plot([0, highest], [0, highest], color="#888888", linewidth=1)
        axes.scatter(truth, unseen, s=8, color=UNSEEN)
        save(figure, "predicted_against_actual.svg")
