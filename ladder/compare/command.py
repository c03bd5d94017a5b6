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
from ladder.output import print_line, save
from ladder.page import compare as page
from ladder.runbook import People
from ladder.starter.problems import with_settings
from ladder.story import Story, load_story
from ladder.workcopy import display_path
from ladder.workers import Task, Watcher, run_in_parallel

ORACLE = "oracle"
SAME_DATES = "same-dates"
# How long they take, roughly.
WEIGHTS: dict[int | str, int] = {4: 9, 3: 7, ORACLE: 4, 2: 3, 1: 2, 0: 1}


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
    place = workcopy.home() / options.purpose
    jobs = _jobs(chosen, people, story, place, options.same_dates)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=options.out):
        pass  # rather now than after the replay
    with workcopy.exclusive(options.purpose):
        workcopy.make_empty(place)
        _announce(story, chosen, options, skipped, console)
        tasks = _tasks(story, jobs, place)
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


def _jobs(
    chosen: Sequence[Level], people: People, story: Story, place: Path, same_dates: bool
) -> dict[str, Job]:
    """The replays by name, in display order. With the same dates, only those that differ."""
    jobs: dict[str, Job] = {}
    again: dict[str, Job] = {}
    for each in chosen:
        book, team = runbook.load(each.folder), people.team(each)
        own = runbook.plan(each, team, book, story.start, story.end)
        jobs[str(each.number)] = Job(each, place / f"level{each.number}", story, own, team)
        due = runbook.plan_on_same_dates(each, team, book, people.same_dates, story.start, story.end)
        if same_dates and due != own:
            name = _again(each)
            again[name] = Job(each, place / name, story, due, team, questions=False, by_date=book.by_date)
    return jobs | again


def _again(each: Level) -> str:
    return f"{SAME_DATES}/level{each.number}"


def _tasks(story: Story, jobs: dict[str, Job], place: Path) -> dict[str, Task]:
    """The replays by name, and the oracle, each with its working copy prepared."""
    tasks: dict[str, Task] = {}
    for name, job in jobs.items():
        _make(job)
        number, own = job.level.number, job.questions
        title = f"level {number}" if own else f"level {number}, same dates"
        tasks[name] = Task(title, job.days, partial(replay, job), WEIGHTS[number])
    if story.incidents:
        # The oracle runs the recipe of the first level that has it as a package.
        tasks[ORACLE] = Task(
            "retrained daily",
            (story.end - story.start).days + 1,
            partial(run_oracle, workcopy.make(level(1), place / ORACLE), story, story.start),
            WEIGHTS[ORACLE],
        )
    return tasks


def _make(job: Job) -> None:
    """Make a level's working copy; if it releases by date, with the settings for that."""
    workcopy.make(job.level, job.folder)
    if job.by_date is None:
        return
    params = job.folder / "params.yaml"
    text = with_settings(params.read_text(encoding="utf-8"), job.by_date.settings)
    params.write_text(text, encoding="utf-8", newline="\n")
    workcopy.commit(job.folder, "Train on given dates")


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
