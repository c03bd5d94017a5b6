"""`ladder compare` and `ladder demo`: every level lives through a story, side by side, and is measured."""

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.console import Console

from ladder import runbook, workcopy
from ladder.compare import live, measures, report, terminal
from ladder.compare.checkpoint import Checkpoint
from ladder.compare.oracle import predict_daily
from ladder.compare.replay import Job, live_through
from ladder.compare.results import Comparison
from ladder.levels import ROOT, Level, level, levels
from ladder.page import compare as page
from ladder.runbook import ByDate, Due, People, Team
from ladder.story import Story, load_story
from ladder.workers import Watch, Work, end_left_behind, side_by_side

ORACLE = "oracle"
ONE_CADENCE = "one-cadence"
AT_ONE_CADENCE = "once more, at one cadence:"
# How long they take, roughly. At one cadence the lower levels release more often, and the higher ones less.
WEIGHTS: dict[int | str, int] = {4: 9, 3: 7, ORACLE: 4, 2: 3, 1: 1, 0: 0}
WEIGHTS_AT_ONE_CADENCE = {4: 9, 3: 5, 2: 3, 1: 2, 0: 2}
SAVED = "saved"  # the folder in which it is kept how far each replay is
# What a replay comes to depends on the code of these. Another one does not go on where this one was cut off.
CODE = (
    "requirements.lock",
    "data/*.py",
    "ladder/warm/*.py",
    *(f"ladder/{name}.py" for name in ("hands", "runbook", "service", "story", "users", "workcopy")),
    *(
        f"ladder/compare/{name}.py"
        for name in ("checkpoint", "lived", "oracle", "questions", "replay", "results")
    ),
)


@dataclass(frozen=True)
class Options:
    """What somebody asked for. `levels`: none means all; `purpose` names the folder of the working copies."""

    scenario: str
    purpose: str
    out: Path
    feed: Path | None = None
    start: date | None = None
    end: date | None = None
    levels: tuple[int, ...] = ()
    people: Path = runbook.PEOPLE
    fresh: bool = False
    one_cadence: bool = False


@dataclass(frozen=True)
class _Piece:
    """A replay, or the oracle: what there is to do, where it is kept how far it is, how its copy is made."""

    work: Work
    checkpoint: Checkpoint
    folder: Path
    make: Callable[[], object]


def compare(options: Options, console: Console, also: Watch | None = None) -> Comparison:
    """Replay the story, show what came of it, write `compare.json` and `compare.html`.

    One that was cut off goes on where it was. `also` looks on, beside the console. Raises UserError where
    the story cannot be told or a working copy fails a step, OSError where `out` cannot be written.
    """
    began = time.monotonic()
    people = runbook.load_people(options.people)
    chosen = [level(number) for number in sorted(set(options.levels))] or list(levels())
    story = load_story(options.scenario, options.feed, options.start, options.end)
    skipped = [each.kind for each in story.scenario.events] if options.feed is not None else []
    plans = _plans(chosen, people, story, options.one_cadence)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=options.out):
        pass  # rather now than after the replay
    with workcopy.alone(options.purpose) as place:
        end_left_behind(str(place))  # what an earlier one, killed, may have left at work there
        pieces = _pieces(story, plans, place)
        _announce(story, chosen, options, skipped, console)
        results = _replay(pieces, options, place, console, also)
        found = report.comparison(
            story,
            chosen,
            {each.number: results[str(each.number)] for each in chosen},
            {each.number: results.get(_again(each), results[str(each.number)]) for each in chosen}
            if options.one_cadence
            else None,
            results.get(ORACLE),
            people,
            options.people,
            options.feed,
            skipped,
            round(time.monotonic() - began, 1),
        )
        page.write(found, options.out / "compare.html")
        _write(found.model_dump_json(indent=1), options.out / "compare.json")
        workcopy.remove(place / SAVED)  # all is done: the next one begins anew
    terminal.show(found, console)
    console.print(
        f"Page: {workcopy.short(options.out / 'compare.html')}   Numbers:"
        f" {workcopy.short(options.out / 'compare.json')}   Working copies: {workcopy.short(place)}",
        highlight=False,
        soft_wrap=True,
    )
    return found


@dataclass(frozen=True)
class _Plan:
    """Who does what when at a level, and where its dates are given to a level that has its own reasons."""

    level: Level
    due: tuple[Due, ...]
    team: Team
    by_date: ByDate | None = None


def _plans(chosen: Sequence[Level], people: People, story: Story, one_cadence: bool) -> dict[str, _Plan]:
    """By name, in the order in which they are shown. At one cadence only those that it makes another of."""
    plans: dict[str, _Plan] = {}
    again: dict[str, _Plan] = {}
    for each in chosen:
        book, team = runbook.load(each.folder), people.team(each)
        own = runbook.plan(each, team, book, story.start, story.end)
        plans[str(each.number)] = _Plan(each, own, team)
        due = runbook.plan_at_one_cadence(each, team, book, people.one_cadence, story.start, story.end)
        if one_cadence and due != own:
            again[_again(each)] = _Plan(each, due, team, book.by_date)
    return plans | again


def _again(each: Level) -> str:
    return f"{ONE_CADENCE}/level{each.number}"


def _pieces(story: Story, plans: dict[str, _Plan], place: Path) -> dict[str, _Piece]:
    """What there is to do, by name."""
    pieces: dict[str, _Piece] = {}
    world = [_content_of_tool(), story.scenario.model_dump_json().encode(), _content_of(story.clean)]
    for name, plan in plans.items():
        own = name == str(plan.level.number)
        folder = place / (f"level{plan.level.number}" if own else name)
        key = _key(*world, repr((plan.due, plan.team, plan.by_date)).encode(), _content_of_level(plan.level))
        checkpoint = Checkpoint(place / SAVED / name, key)
        job = Job(plan.level, folder, story, plan.due, plan.team, checkpoint, questions=own)
        pieces[name] = _Piece(
            Work(
                plan.level.title + ("" if own else ", at one cadence"),
                job.days,
                partial(live_through, job),
                f"Level {plan.level.number}",
                "" if own else AT_ONE_CADENCE,
                (WEIGHTS if own else WEIGHTS_AT_ONE_CADENCE)[plan.level.number],
            ),
            checkpoint,
            folder,
            partial(_make, plan, folder),
        )
    if story.incidents:
        # What each level is measured against runs the recipe of the first level that has it as a package.
        first = story.incidents[0].day - timedelta(days=measures.DAYS - 1)
        recipe, folder = level(1), place / ORACLE
        checkpoint = Checkpoint(place / SAVED / ORACLE, _key(*world, _content_of_level(recipe)))
        pieces[ORACLE] = _Piece(
            Work(
                "Yardstick: retrained daily, no delay",
                (story.end - first).days + 1,
                partial(predict_daily, folder, story, first, checkpoint=checkpoint),
                "Yardstick",
                "retrained daily, without any delay:",
                WEIGHTS[ORACLE],
            ),
            checkpoint,
            folder,
            partial(workcopy.make, recipe, folder),
        )
    return pieces


def _make(plan: _Plan, folder: Path) -> None:
    """A level's working copy; where it releases by date, with the settings for that."""
    workcopy.make(plan.level, folder)
    if plan.by_date is None:
        return
    params = folder / "params.yaml"
    settings: dict[str, Any] = yaml.safe_load(params.read_text(encoding="utf-8"))
    for section, values in plan.by_date.settings.items():
        settings[section] |= values
    params.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8", newline="\n")
    workcopy.commit(folder, "Train on given dates")


def _replay(
    pieces: dict[str, _Piece], options: Options, place: Path, console: Console, also: Watch | None
) -> dict[str, Any]:
    """Do what is to be done; what came of each piece, by name."""
    results: dict[str, Any] = {}
    reached: dict[str, date] = {}
    for name, each in pieces.items() if not options.fresh else ():
        result, day = each.checkpoint.result(), each.checkpoint.reached()
        if result is not None:
            results[name] = result
        elif day is not None:
            reached[name] = day
    if results or reached:
        told = [f"{_name(pieces[name])} is done" for name in results]
        told += [f"{_name(pieces[name])} at {day}" for name, day in reached.items()]
        console.print(
            f"Going on where the replay of {options.scenario} was cut off: {', '.join(told)}.\n",
            highlight=False,
            soft_wrap=True,
        )
    else:
        workcopy.fresh(place)
    left = {name: each for name, each in pieces.items() if name not in results}
    for name, each in left.items():
        if name not in reached:
            workcopy.remove(each.folder)
            each.make()
    works = {name: each.work for name, each in left.items()}
    longest_first = dict(sorted(works.items(), key=lambda item: item[1].weight, reverse=True))
    with live.shown(works, console) as watch:
        watches = [watch] if also is None else [watch, also]
        return results | side_by_side(longest_first, watches, mark=str(place))


def _name(piece: _Piece) -> str:
    work = piece.work
    return f"{work.short.lower()}{' at one cadence' if work.group == AT_ONE_CADENCE else ''}"


def _announce(
    story: Story, chosen: Sequence[Level], options: Options, skipped: Sequence[str], console: Console
) -> None:
    console.print(f"[bold]{story.title}[/bold]  {story.start} to {story.end}", highlight=False)
    for incident in story.incidents:
        console.print(f"  {incident.day}  {incident.kind}", highlight=False)
    if story.left_out:
        told = ", ".join(f"{each.kind} of {each.day}" for each in story.left_out)
        console.print(f"  without {told}: outside the period", highlight=False, soft_wrap=True)
    if skipped:
        console.print(
            f"  over {options.feed}: without {', '.join(skipped)}, which only the simulator can make happen",
            highlight=False,
            soft_wrap=True,
        )
    who = "1 level lives" if len(chosen) == 1 else f"{len(chosen)} levels live"
    console.print(
        f"{who} through it, each in a working copy of its own: the feed is published day by day, people"
        f" release as often as {workcopy.short(options.people)} assumes, every request is really sent.\n",
        highlight=False,
    )


def _content_of_tool() -> bytes:
    """Of the code that replays are played by, and of the versions of what it uses."""
    paths = [path for pattern in CODE for path in sorted(ROOT.glob(pattern))]
    return _digest(sys.version.encode(), *(path.read_bytes() for path in paths))


def _content_of_level(each: Level) -> bytes:
    names = workcopy.own_files(each.folder)
    parts = ((name.as_posix().encode(), (each.folder / name).read_bytes()) for name in names)
    return _digest(*(part for pair in parts for part in pair))


def _content_of(frame: pd.DataFrame) -> bytes:
    return _digest(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())


def _digest(*parts: bytes) -> bytes:
    """One digest of many, each with its length, so that nothing can slip from one into the next."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.digest()


def _key(*parts: bytes) -> str:
    return _digest(*parts).hex()


def _write(text: str, path: Path) -> None:
    half = path.with_name(f".{path.name}.tmp")
    half.write_text(text, encoding="utf-8", newline="\n")
    half.replace(path)
