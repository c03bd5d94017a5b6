"""`ladder compare` and `ladder demo`: replay a story at every level side by side, and measure the results."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from rich.console import Console

from ladder import runbook, workcopy
from ladder.compare import report, terminal
from ladder.compare.oracle import run_oracle
from ladder.compare.replay import Job, replay
from ladder.compare.results import Comparison
from ladder.levels import Level, level, levels
from ladder.output import print_line
from ladder.page import compare as page
from ladder.page import save
from ladder.runbook import ByDate, Due, People, Team
from ladder.starter.problems import with_settings
from ladder.story import Story, load_story
from ladder.workcopy import display_path
from ladder.workers import Task, Watcher, run_in_parallel

ORACLE = "oracle"
SAME_DATES = "same-dates"
# How long they take, roughly. With the same dates lower levels release more often, and higher ones less.
WEIGHTS: dict[int | str, int] = {4: 9, 3: 7, ORACLE: 4, 2: 3, 1: 1, 0: 0}
WEIGHTS_ON_SAME_DATES = {4: 9, 3: 5, 2: 3, 1: 2, 0: 2}


@dataclass(frozen=True)
class Options:
    """What to compare. `levels`: none means all; `purpose` names the folder of the working copies."""

    scenario: str
    purpose: str
    out: Path
    feed: Path | None = None
    start: date | None = None
    end: date | None = None
    levels: tuple[int, ...] = ()
    people: Path = runbook.PEOPLE
    same_dates: bool = False


@dataclass(frozen=True)
class _Plan:
    """Who does what when at a level, and how releases start on fixed dates if it has its own triggers."""

    level: Level
    due: tuple[Due, ...]
    team: Team
    by_date: ByDate | None = None


def compare(options: Options, console: Console, watcher: Watcher | None = None) -> Comparison:
    """Replay the story, print the results, write `compare.json` and `compare.html`.

    `watcher` is notified of progress, too. Raises UserError if the story cannot be replayed or a step fails
    in a working copy, OSError if `out` cannot be written.
    """
    began = time.monotonic()
    chosen = [level(number) for number in sorted(set(options.levels))] or list(levels())
    people = runbook.load_people(options.people)
    story = load_story(options.scenario, options.feed, options.start, options.end)
    skipped = [each.kind for each in story.scenario.events] if options.feed is not None else []
    plans = _plans(chosen, people, story, options.same_dates)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=options.out):
        pass  # rather now than after the replay
    with workcopy.exclusive(options.purpose) as place:
        workcopy.make_empty(place)
        _announce(story, chosen, options, skipped, console)
        tasks = _tasks(story, plans, place)
        with terminal.Live(tasks, console) as live:
            results = run_in_parallel(tasks, [live] if watcher is None else [live, watcher])
        found = report.comparison(
            story,
            chosen,
            {each.number: results[str(each.number)] for each in chosen},
            {each.number: results.get(_again(each), results[str(each.number)]) for each in chosen}
            if options.same_dates
            else None,
            results.get(ORACLE),
            people,
            options.people,
            options.feed,
            skipped,
            round(time.monotonic() - began, 1),
        )
        page.write(found, options.out / "compare.html")
        save(found.model_dump_json(indent=1), options.out / "compare.json")
    terminal.show(found, console)
    print_line(
        console,
        f"Page: {display_path(options.out / 'compare.html')}   Numbers:"
        f" {display_path(options.out / 'compare.json')}   Working copies: {display_path(place)}",
    )
    return found


def _plans(chosen: Sequence[Level], people: People, story: Story, same_dates: bool) -> dict[str, _Plan]:
    """The plans by name, in display order. With the same dates, only those that differ."""
    plans: dict[str, _Plan] = {}
    again: dict[str, _Plan] = {}
    for each in chosen:
        book, team = runbook.load(each.folder), people.team(each)
        own = runbook.plan(each, team, book, story.start, story.end)
        plans[str(each.number)] = _Plan(each, own, team)
        due = runbook.plan_on_same_dates(each, team, book, people.same_dates, story.start, story.end)
        if same_dates and due != own:
            again[_again(each)] = _Plan(each, due, team, book.by_date)
    return plans | again


def _again(each: Level) -> str:
    return f"{SAME_DATES}/level{each.number}"


def _tasks(story: Story, plans: dict[str, _Plan], place: Path) -> dict[str, Task]:
    """The replays by name, and the oracle, each with its working copy prepared."""
    tasks: dict[str, Task] = {}
    for name, plan in plans.items():
        number = plan.level.number
        own = name == str(number)
        folder = place / (f"level{number}" if own else name)
        _make(plan, folder)
        job = Job(plan.level, folder, story, plan.due, plan.team, questions=own)
        tasks[name] = Task(
            plan.level.title + ("" if own else ", same dates"),
            job.days,
            partial(replay, job),
            f"level {number}" if own else f"level {number}, same dates",
            (WEIGHTS if own else WEIGHTS_ON_SAME_DATES)[number],
        )
    if story.incidents:
        # The oracle runs the recipe of the first level that has it as a package.
        tasks[ORACLE] = Task(
            "Retrained daily",
            (story.end - story.start).days + 1,
            partial(run_oracle, workcopy.make(level(1), place / ORACLE), story, story.start),
            "retrained daily",
            WEIGHTS[ORACLE],
        )
    return tasks


def _make(plan: _Plan, folder: Path) -> None:
    """Make a level's working copy; if it releases by date, with the settings for that."""
    workcopy.make(plan.level, folder)
    if plan.by_date is None:
        return
    params = folder / "params.yaml"
    text = with_settings(params.read_text(encoding="utf-8"), plan.by_date.settings)
    params.write_text(text, encoding="utf-8", newline="\n")
    workcopy.commit(folder, "Train on given dates")


def _announce(
    story: Story, chosen: Sequence[Level], options: Options, skipped: Sequence[str], console: Console
) -> None:
    console.print(f"[bold]{story.scenario.title}[/bold]  {story.start} to {story.end}")
    for incident in story.incidents:
        console.print(f"  {incident.since}  {incident.kind}")
    if story.left_out:
        names = ", ".join(f"{each.kind} of {each.since}" for each in story.left_out)
        print_line(console, f"  without {names}: outside the period")
    if skipped:
        what = ", ".join(skipped)
        print_line(console, f"  events skipped on a given feed (they need the simulator): {what}")
    who = "1 level" if len(chosen) == 1 else f"{len(chosen)} levels, each"
    console.print(
        f"Replaying {who} in its own working copy. The feed is published daily; people release as"
        f" {workcopy.display_path(options.people)} assumes; all requests are real.\n"
    )
