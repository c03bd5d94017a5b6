"""A comparison in a terminal: the table, the chart of errors, and what the numbers say."""

from datetime import timedelta

import plotext
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ladder.compare.measures import WITHIN
from ladder.compare.results import Comparison, Happening, LevelResult

WIDEST = 100  # of a chart, in columns
ROWS = 18


def show(comparison: Comparison, console: Console) -> None:
    """Print it, within the console's width, which should be 80 columns at least."""
    console.print(_table(comparison))
    _notes(comparison, console)
    _chart(comparison, console)
    console.print()
    for said in comparison.verdicts:
        console.print(f"- {said}", highlight=False)
    console.print()


def _table(comparison: Comparison) -> Table:
    incidents = bool(comparison.story.incidents)
    table = Table(
        title="What users were given, and what it took",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("level")
    columns = ["error", "trained/\nreleased", "human\nsteps", "for a\nrelease"]
    columns += ["days to\nrecover", "bad\nanswers"] if incidents else []
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("again,\ntraced", justify="right", no_wrap=True)
    for number, level in comparison.levels.items():
        by_day = level.manual_steps - level.manual_steps_of_releases
        cells = [
            f"{number} {level.name}",
            f"{level.mae:.1f}",
            f"{level.trainings} / {level.releases}",
            f"{level.manual_steps_of_releases} + {by_day}",
            f"{level.manual_steps_a_release:.1f}",
        ]
        if incidents:
            cells += [_recovery(level), f"{sum(each.bad_answers for each in level.incidents):,}"]
        table.add_row(*cells, f"{_yes(level.reproducible)}, {_yes(level.traceable)}")
    return table


def _yes(answered: bool) -> str:
    return "yes" if answered else "no"


def _recovery(level: LevelResult) -> str:
    if level.days_to_recover is None:
        return ""
    return f"{level.days_to_recover:.1f}{'' if all(each.recovered for each in level.incidents) else '+'}"


def _notes(comparison: Comparison, console: Console) -> None:
    said = [
        "error: mean absolute difference between what users were given and the bikes rented, in bikes"
        " an hour.",
        "human steps: to release + to give users their predictions.",
    ]
    if comparison.story.incidents:
        said += [
            f"days to recover: mean over the incidents, until the error of a week was within {WITHIN:g} times"
            " that of a model retrained every day (+: at least, one was not recovered from).",
            "bad answers: hours answered until then while it was not.",
        ]
    said += [
        "again, traced: can an old model be made again; an old answer be followed to data and person?",
        f"How long people take is an assumption, in {comparison.assumed_in}.",
    ]
    console.print(" ".join(said), style="dim", highlight=False)


def _chart(comparison: Comparison, console: Console) -> None:
    """Error by week, a line for each level, and when incidents begin and end as vertical lines."""
    story = comparison.story
    figure = plotext.figure
    figure.clear()
    lines = {f"level {number}": level.weekly_mae for number, level in comparison.levels.items()}
    if comparison.yardstick is not None:
        lines["yardstick"] = comparison.yardstick.weekly_mae
    weeks = list(range(max(map(len, lines.values()))))
    for label, errors in lines.items():
        known = [(week, error) for week, error in enumerate(errors) if error is not None]
        if known:
            line = figure.signal(*map(list, zip(*known, strict=True)))
            line.lines(True)
            line.label(label)
            figure.draw(line)
    for incident in story.incidents:
        figure.line((incident.since - story.start).days / 7, orientation="vertical", style="dotted")
        if incident.until is not None:
            after = (incident.until - story.start).days + 1
            figure.line(after / 7, orientation="vertical", style="dotted")
    shown = weeks[:: max(1, len(weeks) // 6)]
    figure.ruler("x").ticks(shown, [f"{story.start + timedelta(weeks=week):%d %b}" for week in shown])
    figure.ruler("y").lim(0, None)
    figure.plot_size(min(console.width, WIDEST), ROWS)
    figure.title("error by week, bikes an hour")
    console.print()
    drawn = figure.build().string(colorless=not console.is_terminal)  # its own `show` knows of no console
    console.print(Text.from_ansi(drawn), soft_wrap=True)
    if story.incidents:
        dotted = ", ".join(map(_span, story.incidents))
        console.print(f"dotted: {dotted}. yardstick: retrained daily without any delay.", style="dim")


def _span(incident: Happening) -> str:
    if incident.until is None:
        return f"{incident.kind} from {incident.since} on"
    return f"{incident.kind} {incident.since} to {incident.until}"
