"""A comparison in a terminal of 80 columns or more: the table, the chart of errors, and the verdicts."""

from datetime import timedelta

import plotext
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ladder.compare.measures import WITHIN
from ladder.compare.results import Comparison, Happening, LevelResult
from ladder.levels import SHORT

WIDEST = 100  # of a chart, in columns
ROWS = 18
DAILY = "·"  # marks the line of the model retrained daily


def show(comparison: Comparison, console: Console) -> None:
    """Print it, within the console's width."""
    console.print(_table(comparison))
    _notes(comparison, console)
    _chart(comparison, console)
    console.print()
    for verdict in comparison.verdicts:
        console.print(f"- {verdict}", highlight=False)
    console.print()


def _table(comparison: Comparison) -> Table:
    """One line a level, and one for the reference."""
    incidents = bool(comparison.story.incidents)
    table = Table(
        title="What users got, and what it took",
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )
    table.add_column("level", no_wrap=True)
    columns = ["error", "trained/\nreleased", "human\nsteps", "for a\nrelease"]
    columns += ["days to\nrecover", "bad\nhours"] if incidents else []
    for column in [*columns, "remade,\ntraced"]:
        table.add_column(column, justify="right", no_wrap=True, vertical="bottom")
    for number, level in comparison.levels.items():
        by_day = level.manual_steps - level.manual_steps_of_releases
        cells = [
            f"{number} {SHORT[int(number)]}",
            f"{level.mae:.1f}",
            f"{level.trainings} / {level.releases}",
            f"{level.manual_steps_of_releases} + {by_day}",
            f"{level.manual_steps_a_release:.1f}",
        ]
        if incidents:
            cells += [_recovery(level), f"{sum(each.bad_answers for each in level.incidents):,}"]
        table.add_row(*cells, f"{_yes(level.reproducible)}, {_yes(level.traceable)}")
    if comparison.retrained_daily is not None:
        table.add_row(f"{DAILY} retrained daily", f"{comparison.retrained_daily.mae:.1f}", style="dim")
    return table


def _yes(answered: bool) -> str:
    return "yes" if answered else "no"


def _recovery(level: LevelResult) -> str:
    if level.days_to_recover is None:
        return ""
    return f"{level.days_to_recover:.1f}{'' if all(each.recovered for each in level.incidents) else '+'}"


def _notes(comparison: Comparison, console: Console) -> None:
    notes = [
        "error: mean absolute error of what users got, in bikes an hour.",
        "human steps: for releases + to give users their predictions.",
    ]
    if comparison.story.incidents:
        notes += [
            "retrained daily: the same recipe, retrained every morning on the truth, without any delay: a"
            " reference that no project can reach, as labels and releases take time.",
            f"days to recover: mean over the incidents, until the error of a week was within {WITHIN:g} times"
            " that reference (+: at least; one was not recovered from).",
            "bad hours: hours predicted while it was not.",
        ]
    notes += [
        "remade, traced: can an old model be made again; can a prediction be traced to data and person?",
        f"How long people take is an assumption, in {comparison.assumed_in}.",
    ]
    console.print()
    console.print(" ".join(notes), style="dim", highlight=False)


def _chart(comparison: Comparison, console: Console) -> None:
    """Error by week: each line is drawn by its level's number, incidents are vertical."""
    story = comparison.story
    lines = {number: level.weekly_mae for number, level in comparison.levels.items()}
    if comparison.retrained_daily is not None:
        lines = {DAILY: comparison.retrained_daily.weekly_mae} | lines
    figure = plotext.figure
    figure.clear()
    for mark, errors in lines.items():
        known = [(week, error) for week, error in enumerate(errors) if error is not None]
        if known:
            line = figure.signal(*map(list, zip(*known, strict=True)), marker=mark)
            line.lines(True)
            figure.draw(line)
    for incident in story.incidents:
        figure.line((incident.since - story.start).days / 7, orientation="vertical", style="dotted")
        if incident.until is not None:
            after = (incident.until - story.start).days + 1
            figure.line(after / 7, orientation="vertical", style="dotted")
    weeks = list(range(max(map(len, lines.values()))))
    shown = weeks[:: max(1, len(weeks) // 6)]
    figure.ruler("x").ticks(shown, [f"{story.start + timedelta(weeks=week):%d %b}" for week in shown])
    figure.ruler("y").lim(0, None)
    figure.plot_size(min(console.width, WIDEST), ROWS)
    figure.title("error by week, bikes an hour")
    console.print()
    drawn = figure.build().string(colorless=not console.is_terminal)  # its own `show` knows of no console
    console.print(Text.from_ansi(drawn), soft_wrap=True)
    marks = "digits: the levels"
    if comparison.retrained_daily is not None:
        marks += f"; {DAILY} retrained daily"
    if story.incidents:
        marks += f"; dotted lines: {', '.join(map(_span, story.incidents))}"
    console.print(f"{marks}.", style="dim", highlight=False)


def _span(incident: Happening) -> str:
    if incident.until is None:
        return f"{incident.kind} from {incident.since} on"
    return f"{incident.kind} {incident.since} to {incident.until}"
