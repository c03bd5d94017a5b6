"""The main job: every level lives through a short story, side by side, and a table says what came of it."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import plotext
from rich.console import Console
from rich.table import Table

from ladder import measures, runbook, workcopy
from ladder.levels import Level, level, levels
from ladder.oracle import predict_daily
from ladder.replay import Job, Lived, live_through
from ladder.story import Story, load_story
from ladder.workers import Work, side_by_side

ORACLE = "oracle"


def demo(scenario: str, feed: Path | None, numbers: Sequence[int], out: Path, console: Console) -> None:
    """Replay the scenario's story at these levels, print the table, write `compare.json` in `out`.

    Raises UserError where the story cannot be told or a working copy fails a step, OSError where `out` cannot
    be written.
    """
    story = load_story(scenario, feed)
    chosen = [level(number) for number in numbers] or list(levels())
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass  # rather now than after the replay
    _announce(story, chosen, feed, console)
    with workcopy.alone("demo") as place:
        folder = workcopy.fresh(place)
        report = _replay(story, chosen, folder, console)
    _write_json(report, out / "compare.json")
    console.print(_table(report, chosen))
    _chart(report, console)
    _closing_words(report, folder, out, console)


def _replay(story: Story, chosen: Sequence[Level], folder: Path, console: Console) -> dict[str, Any]:
    """Replay the story at these levels below `folder`, side by side, and measure what came of it."""
    people = runbook.load_people()
    work: dict[str, Work] = {}
    for each in chosen:
        copy = workcopy.make(each, folder / f"level{each.number}")
        plan = tuple(
            runbook.plan(each, people.levels[each.number], runbook.load(copy), story.start, story.end)
        )
        days = (story.end - min(day for day, _ in plan)).days + 1
        work[str(each.number)] = Work(each.title, days, partial(live_through, Job(each, copy, story, plan)))
    if story.incidents:
        # What each level is measured against runs the recipe of the first level that has it as a package.
        copy = workcopy.make(level(1), folder / ORACLE)
        first = story.incidents[0].day - timedelta(days=measures.DAYS - 1)
        title = "Yardstick: retrained daily, no delay"
        work[ORACLE] = Work(title, (story.end - first).days + 1, partial(predict_daily, copy, story, first))
    return _report(story, chosen, side_by_side(work, console))


def _announce(story: Story, chosen: Sequence[Level], feed: Path | None, console: Console) -> None:
    console.print(f"[bold]{story.title}[/bold]  {story.start} to {story.end}", highlight=False)
    for incident in story.incidents:
        console.print(f"  {incident.day}  {incident.kind}", highlight=False)
    if feed is not None and story.scenario.events:
        skipped = ", ".join(each.kind for each in story.scenario.events)
        console.print(
            f"  over {feed}: without {skipped}, which only the simulator can make happen", soft_wrap=True
        )
    who = "1 level lives" if len(chosen) == 1 else f"{len(chosen)} levels live"
    console.print(
        f"{who} through it, each in a working copy of its own: the feed is published day by day, people"
        " release as often as data/people.yaml assumes, every request is really sent.\n"
    )


def _report(story: Story, chosen: Sequence[Level], results: Mapping[str, Any]) -> dict[str, Any]:
    clean = story.during()
    incidents = [(incident.kind, incident.day) for incident in story.incidents]
    oracle = results.get(ORACLE)
    report: dict[str, Any] = {"story": story.facts(), "levels": {}, "yardstick": None}
    if oracle is not None:
        days = measures.daily_error(oracle, clean[clean["timestamp"].isin(oracle["timestamp"])])
        report["yardstick"] = {
            "from": days.index[0].isoformat(),
            "weekly_mae": measures.weekly_error(days, story.start, story.end),
        }
    for each in chosen:
        lived: Lived = results[str(each.number)]
        report["levels"][str(each.number)] = {
            "name": each.name,
            **measures.measures(lived.answers, clean, oracle, incidents),
            "releases": len(lived.releases),
            "released_on": lived.releases,
            "refused": lived.refused,
            "trainings": lived.trainings,
            "manual_steps": lived.release_steps + lived.daily_steps,
            "manual_steps_of_releases": lived.release_steps,
            "failed_requests": lived.failed_requests,
            "machine_seconds": lived.machine_seconds,
        }
    return report


def _table(report: Mapping[str, Any], chosen: Sequence[Level]) -> Table:
    growth = any(incident["kind"] == "growth" for incident in report["story"]["incidents"])
    table = Table(title="What users were given, and what it took", title_justify="left", title_style="bold")
    table.add_column("level")
    for column in ("error", "releases", "human steps"):
        table.add_column(column, justify="right", no_wrap=True)
    if growth:
        table.add_column("recovered from growth", justify="right")
    for each in chosen:
        row = report["levels"][str(each.number)]
        days = row["days_to_recover"].get("growth")
        to_release = row["manual_steps_of_releases"]
        cells = [
            f"{each.number}  {each.name}",
            f"{row['mae']:.1f}",
            str(row["releases"]),
            f"{to_release} + {row['manual_steps'] - to_release}",
        ]
        if growth:
            cells.append("not in this story" if days is None else f"after {days} days")
        table.add_row(*cells)
    return table


def _chart(report: Mapping[str, Any], console: Console) -> None:
    """Error by week, a line for each level, and when incidents begin and end as vertical lines."""
    start = date.fromisoformat(report["story"]["from"])
    figure = plotext.figure
    figure.clear()
    lines = {f"level {number}": row["weekly_mae"] for number, row in report["levels"].items()}
    if report["yardstick"]:
        lines["yardstick"] = report["yardstick"]["weekly_mae"]
    weeks = list(range(max(map(len, lines.values()))))
    for label, errors in lines.items():
        known = [week for week in weeks if errors[week] is not None]
        line = figure.signal(known, [errors[week] for week in known])
        line.lines(True)
        line.label(label)
        figure.draw(line)
    for incident in report["story"]["incidents"]:
        week = (date.fromisoformat(incident["from"]) - start).days / 7
        figure.line(week, orientation="vertical", style="dotted")
        if incident["to"]:
            week = ((date.fromisoformat(incident["to"]) - start).days + 1) / 7
            figure.line(week, orientation="vertical", style="dotted")
    shown = weeks[:: max(1, len(weeks) // 6)]
    figure.ruler("x").ticks(shown, [f"{start + timedelta(weeks=week):%d %b}" for week in shown])
    figure.ruler("y").lim(0, None)
    figure.plot_size(min(console.width, 100), 18)
    figure.title("error by week, bikes an hour")
    console.print()
    figure.show(colorless=not console.is_terminal)
    if report["story"]["incidents"]:
        dotted = ", ".join(
            each["kind"] + (f" {each['from']} to {each['to']}" if each["to"] else f" from {each['from']} on")
            for each in report["story"]["incidents"]
        )
        console.print(f"dotted: {dotted}. yardstick: retrained daily without any delay.", style="dim")


def _closing_words(report: Mapping[str, Any], folder: Path, out: Path, console: Console) -> None:
    rows = report["levels"]
    if len(rows) > 1:
        (low, first), *_, (high, last) = rows.items()
        change = last["mae"] / first["mae"] - 1
        how = "lower" if change < 0 else "higher"
        console.print(f"\nThe error at level {high} is {abs(change):.0%} {how} than at level {low}.")
    hours = report["story"]["hours"]
    for number, row in rows.items():
        answered = hours - row["failed_requests"]
        console.print(
            f"At level {number}, {answered:,} of {hours:,} requests were answered.", highlight=False
        )
    console.print(
        "\n[dim]error: mean absolute difference between what users were given and the bikes rented, in bikes"
        " an hour. human steps: to release + to give users their predictions. recovered: the first day of a"
        " week within 1.2 times the error of a model retrained every day. How long people take is an"
        " assumption, in data/people.yaml.[/dim]",
        highlight=False,
    )
    console.print(
        f"Working copies: {workcopy.short(folder)}   Numbers: {workcopy.short(out / 'compare.json')}",
        highlight=False,
        soft_wrap=True,
    )


def _write_json(report: Mapping[str, Any], path: Path) -> None:
    half = path.with_name(f".{path.name}.tmp")
    half.write_text(json.dumps(report, indent=1), encoding="utf-8")
    half.replace(path)
