"""The evidence of a test as one page of HTML that needs nothing from anywhere else."""

import io
import os
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bike_demand.data.target import ERROR_NAME, ERROR_UNIT, rounded
from bike_demand.release.ab.evidence import Evidence, Kind
from bike_demand.settings import STATE

TEMPLATE = Path(__file__).with_name("page.html.j2")
# What is drawn in this colour takes the page's own, so that the plots can be read on light and on dark.
INK = "#010203"
RATIO, THEIRS, MARGIN = "#3b82c4", "#c4701b", "#c4413b"


def rendered(evidence: Evidence) -> str:
    """The page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    plots = [Markup(each) for each in _plots(evidence)]
    told = {"rounded": rounded, "error": ERROR_NAME, "unit": ERROR_UNIT}
    return template.render(evidence=evidence, plots=plots, **told)


def _plots(evidence: Evidence) -> list[str]:
    """Ratio of the errors with its bounds, and both errors: SVG."""
    if not evidence.days:
        return []
    # Else matplotlib writes its list of fonts to the home folder.
    os.environ.setdefault("MPLCONFIGDIR", str((STATE / "matplotlib").absolute()))
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: Any = dict.fromkeys(inked, INK)
    style |= {
        "svg.hashsalt": "bike-demand",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
    }
    days = evidence.days
    x = list(range(1, len(days) + 1))

    def blank(title: str, y: str) -> tuple[Figure, Axes]:
        figure = Figure(figsize=(6.4, 3), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.set(title=title, ylabel=y)
        shown = x[:: max(1, len(x) // 7)]
        axes.set_xticks(shown, [f"{days[at - 1].day:%d %b}" for at in shown])
        axes.spines[["top", "right"]].set_visible(False)
        return figure, axes

    def svg(figure: Figure, axes: Axes) -> str:
        axes.legend(frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
        text = out.getvalue()
        return text[text.index("<svg") :].replace(INK, "currentColor")

    with mpl.rc_context(style):
        figure, axes = blank("Error as a multiple of the other's", "ratio")
        ratios = [each.ratio or 1.0 for each in days]
        bounded = [at for at, each in zip(x, days, strict=True) if each.high is not None]
        highs = [each.high for each in days if each.high is not None]
        lows = [each.low for each in days if each.high is not None]
        axes.axhline(1, color=INK, linewidth=0.8)
        if evidence.trial.kind is Kind.TEST:
            axes.axhline(1 + evidence.worse, color=MARGIN, linewidth=1, linestyle="--", label="margin")
        axes.fill_between(bounded, lows, highs, color=RATIO, alpha=0.25, linewidth=0, label="bounds")
        axes.plot(x, ratios, color=RATIO, marker="o", markersize=3, label="estimate")
        axes.set_ylim(max(0, min(ratios) - 0.6), max(ratios) + 0.6)
        first = svg(figure, axes)
        figure, axes = blank(f"{ERROR_NAME.capitalize()} so far", ERROR_UNIT)
        trial = evidence.trial
        axes.plot(
            x,
            [each.error for each in days],
            color=RATIO,
            marker="o",
            markersize=3,
            label=f"version {trial.version}",
        )
        axes.plot(
            x,
            [each.error_against for each in days],
            color=THEIRS,
            marker="s",
            markersize=3,
            label=f"version {trial.against}",
        )
        axes.set_ylim(bottom=0)
        return [first, svg(figure, axes)]
