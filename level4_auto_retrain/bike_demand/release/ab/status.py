"""Shows the test under way, or the promotion that is watched: numbers in the terminal, a page with plots."""

import io
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bike_demand.core.current import PROBLEM, rounded, shown
from bike_demand.core.files import write_atomically
from bike_demand.core.settings import STATE, Settings
from bike_demand.data.month import iso
from bike_demand.pages import render
from bike_demand.release.ab.evidence import Evidence, TrialKind, gather, under_test, under_watch
from bike_demand.store.deployments import Deployments, opened
from bike_demand.store.tables import State

Report = Callable[[str], None]
TEMPLATE = Path(__file__).with_name("status.html.j2")
UNITS = {"time": "event times", "key": "keys"}
MISMATCH = 0.001  # a p-value of the sample-ratio test below it is no chance
INK = "#010203"  # what is drawn in this colour gets the page's own, for light and dark


def status(settings: Settings, as_of: datetime | None, page: Path | None, report: Report) -> None:
    """Show what is known by now; decide nothing. Raises UserError where the database is down."""
    with opened(settings, as_of, report, reading=True) as deployments:
        for line in differences(deployments):
            report(line)
        trials = [each for each in (under_watch(deployments), under_test(deployments)) if each]
        if not any(each.kind is TrialKind.TEST for each in trials):
            row = deployments.live()
            live = "nothing is live" if row is None else f"version {row.version} is live alone"
            report(f"No test is under way: {'a promotion is watched' if trials else live}.")
        found = [gather(deployments, trial) for trial in trials]
        for evidence in found:
            report(as_text(evidence))
        for row in deployments.all(State.QUEUED):
            report(f"Version {row.version} waits for its test since {iso(row.changed_at)}.")
    if page is not None and found:
        write_atomically(page, as_page(found[-1]).encode())
        report(f"Page: {page}")
    elif page is not None:
        report(f"There is nothing to write to {page}.")


def differences(deployments: Deployments) -> Iterator[str]:
    """A line for each setting of the running test that params.yaml has changed since it began."""
    row = deployments.testing()
    if row is None or row.test is None:
        return
    for name, began_with in row.test.items():
        now = getattr(deployments.settings.ab, name, began_with)
        if now != began_with:
            yield (
                f"warning: ab.{name} is {now} in params.yaml, but the test of version {row.version} goes on"
                f" with {began_with}; to begin one with the new value, stop it"
                " (`python -m bike_demand ab stop`) and deploy again"
            )


def as_text(evidence: Evidence) -> str:
    """The numbers, for a person at a terminal."""
    trial = evidence.trial
    if trial.kind is TrialKind.TEST:
        how = (
            "never shown (shadow)"
            if trial.mode == "shadow"
            else f"shown for {trial.share:.0%} of the {UNITS[trial.randomize_by]}"
        )
        first = f"Version {trial.version} is tested against version {trial.against}, {how}"
    else:
        first = f"Version {trial.version} is watched beside version {trial.against}, the champion before"
    lines = [
        f"{first}, since {trial.began:%Y-%m-%d %H:%M} for {trial.days} days at most.",
        f"  rows   {evidence.rows} with an outcome, {evidence.waiting} wait for theirs",
    ]
    if evidence.days:
        last = evidence.days[-1]
        high = "not bounded yet" if last.high is None else f"{last.high:.2f}"
        if evidence.sample_ratio is not None:
            observed = evidence.units_shown / evidence.units
            lines.append(
                f"  shown   for {observed:.0%} of {evidence.units} {UNITS[trial.randomize_by]}, planned are"
                f" {trial.share:.0%} (sample-ratio test: p = {evidence.sample_ratio:.3f})"
            )
            if evidence.sample_ratio < MISMATCH:
                lines.append(
                    "  warning: that is no chance; find out which rows are lost before you trust the test"
                )
        lines += [
            f"  error   {shown(last.error)}, version {trial.against} {rounded(last.error_against)}",
            f"  ratio   {'-' if last.ratio is None else f'{last.ratio:.2f}'}, from {last.low:.2f} to {high}"
            f" (each bound holds in {1 - evidence.rule.alpha:.0%} of tests, however often one looks)",
        ]
    return "\n".join([*lines, f"  now     {evidence.verdict}: {evidence.reason}"])


def as_page(evidence: Evidence) -> str:
    """The evidence as one page of HTML."""
    plot = Markup(_plot(evidence)) if evidence.days else ""
    return render(
        TEMPLATE,
        evidence=evidence,
        plot=plot,
        rounded=rounded,
        units=UNITS[evidence.trial.randomize_by],
        error=PROBLEM.loss.name,
        unit=PROBLEM.loss.unit,
    )


def _plot(evidence: Evidence) -> str:
    """The ratio of the errors with its bounds, and both errors: SVG."""
    # Else matplotlib writes its list of fonts to the home folder.
    os.environ.setdefault("MPLCONFIGDIR", str((STATE / "matplotlib").absolute()))
    import matplotlib as mpl
    from matplotlib.figure import Figure

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: Any = dict.fromkeys(inked, INK) | {"svg.hashsalt": "bike-demand", "svg.fonttype": "none"}
    trial, days = evidence.trial, evidence.days
    x = [f"{each.day:%d %b}" for each in days]
    with mpl.rc_context(style):
        figure = Figure(figsize=(6.4, 6), layout="constrained")
        ratio, error = figure.subplots(2)
        ratio.set_title("Error relative to the other version's")
        ratio.axhline(1, color=INK, linewidth=0.8)
        if trial.kind is TrialKind.TEST:
            ratio.axhline(
                1 + evidence.rule.worse, color="#c4413b", linewidth=1, linestyle="--", label="margin"
            )
        bounded = [(day, each.low, each.high) for day, each in zip(x, days, strict=True) if each.high]
        if bounded:
            ratio.fill_between(*zip(*bounded, strict=True), alpha=0.25, linewidth=0, label="bounds")
        ratio.plot(x, [each.ratio or 1.0 for each in days], marker="o", markersize=3, label="estimate")
        error.set_title(f"{PROBLEM.loss.name.capitalize()} so far, in {PROBLEM.loss.unit}")
        for label, y in (
            (trial.version, [each.error for each in days]),
            (trial.against, [each.error_against for each in days]),
        ):
            error.plot(x, y, marker="o", markersize=3, label=f"version {label}")
        error.set_ylim(bottom=0)
        for axes in (ratio, error):
            axes.patch.set_alpha(0)
            axes.set_xticks(x[:: max(1, len(x) // 7)])
            axes.legend(frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", facecolor="none", metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
