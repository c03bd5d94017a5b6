"""Shows the test under way, or the promotion that is watched: numbers, a plot in the terminal, a page."""

import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from bike_demand.data.target import ERROR_UNIT, rounded
from bike_demand.files import write_atomically
from bike_demand.release import moves
from bike_demand.release.ab.evidence import Evidence, Kind
from bike_demand.release.ab.page import rendered
from bike_demand.release.ab.step import gathered, under_test, under_watch
from bike_demand.settings import Settings
from bike_demand.tracking import Tracking

Tell = Callable[[str], None]
SHOWN_DAYS = 14


def status(settings: Settings, as_of: datetime | None, page: Path | None, tell: Tell) -> None:
    """Tell what is known by now, and change nothing. Raises UserError where the store or database is away."""
    tracking = Tracking(settings)
    trials = [each for each in (under_watch(settings, tracking), under_test(settings, tracking)) if each]
    if not any(each.kind is Kind.TEST for each in trials):
        champion = tracking.champion()
        live = "nothing is live" if champion is None else f"version {champion.number} is live alone"
        tell(f"No test is under way: {live if not trials else 'a promotion is watched'}.")
    found = [gathered(settings, trial, as_of) for trial in trials]
    for evidence in found:
        for line in described(evidence):
            tell(line)
        if chart := drawn(evidence):
            tell(chart)
    for version in moves.waiting(tracking):
        tell(f"Version {version.number} waits for its test since {version.tags[moves.WAITING_TAG]}.")
    if page is not None and found:
        write_atomically(page, rendered(found[-1]).encode())
        tell(f"Page: {page}")
    elif page is not None:
        tell(f"There is nothing to write to {page}.")


def described(evidence: Evidence) -> list[str]:
    """The numbers, as lines for a person."""
    trial = evidence.trial
    if trial.kind is Kind.TEST:
        how = "never shown (shadow)" if trial.mode == "shadow" else f"shown in {trial.share:.0%} of the hours"
        first = f"Version {trial.version} is tested against version {trial.against}, {how}"
    else:
        first = f"Version {trial.version} is watched beside version {trial.against}, the champion before"
    lines = [
        f"{first}, since {trial.began:%Y-%m-%d %H:%M} for {trial.days} days at most.",
        f"  hours   {evidence.hours} with an outcome, {evidence.waiting} wait for theirs"
        f"{'' if trial.paired else '; unpaired, by the shown answers alone'}",
    ]
    if evidence.days:
        last = evidence.days[-1]
        high = "not bounded yet" if last.high is None else f"{last.high:.2f}"
        lines += [
            f"  error   {rounded(last.error)} {ERROR_UNIT}, version {trial.against}"
            f" {rounded(last.error_against)}",
            f"  ratio   {'-' if last.ratio is None else f'{last.ratio:.2f}'}, from {last.low:.2f} to {high}"
            f" (each bound holds in {1 - evidence.alpha:.0%} of tests, however often one looks)",
        ]
    return [*lines, f"  now     {evidence.verdict}: {evidence.reason}"]


def drawn(evidence: Evidence) -> str | None:
    """The ratio and its bounds by day, as text; None where there is nothing to draw."""
    import plotext  # type: ignore[import-untyped]

    days = evidence.days[-SHOWN_DAYS:]
    if len(days) < 2:
        return None
    at = list(range(1, len(days) + 1))
    ratios = [each.ratio or 1.0 for each in days]
    low, high = max(0.0, min(*ratios, 1.0) - 0.3), max(*ratios, 1.0) + 0.3
    figure = plotext.figure
    figure.clear()
    for values in (
        [max(each.low, low) for each in days],
        ratios,
        [high if each.high is None else min(each.high, high) for each in days],
    ):
        line = figure.signal(at, values)
        line.lines(True)
        figure.draw(line)
    figure.line(1.0, orientation="horizontal", style="dotted")
    dotted = "dotted: as good"
    if evidence.trial.kind is Kind.TEST:
        figure.line(1 + evidence.worse, orientation="horizontal", style="dotted")
        dotted += ", and the margin"
    shown = at[:: max(1, len(at) // 6)]
    figure.ruler("x").ticks(shown, [f"{days[number - 1].day:%d %b}" for number in shown])
    figure.ruler("y").lim(low, high)
    figure.plot_size(min(shutil.get_terminal_size().columns, 100), 16)
    figure.title(f"error relative to the other's; {dotted}")
    text: str = figure.build().string(colorless=not sys.stdout.isatty())
    return text.rstrip()
