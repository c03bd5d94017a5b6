"""Evaluates the closed loop over a story, compared with an oracle that retrains weekly.

The oracle trains on the truth, without delay and without a test. With `--calendar` the level below runs
through the story too, with as many trainings on fixed dates. The long story takes a quarter of an hour.

Example: python -m benchmarks.loop --scenario growth
"""

import json
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from ladder import runbook, workcopy
from ladder.compare import measures
from ladder.compare.oracle import run_oracle
from ladder.compare.replay import Job, replay
from ladder.compare.results import ReplayResult
from ladder.compare.terminal import Live
from ladder.levels import level
from ladder.runbook import Due
from ladder.story import Incident, Story, load_story
from ladder.workers import Task, run_in_parallel

LEVEL = 4  # the one with a loop
MAX_ERROR_RATIO = 1.08  # to the oracle's error
MAX_TRAINING_SHARE = 0.5  # of the oracle's trainings
MAX_DAYS_TO_TRAIN, MAX_DAYS_TO_RECOVER = 7, 14  # after a step in demand
# Incident kinds that the loop reports for each kind of the story.
NOTICED_AS = {
    "growth": ("error-drift",),
    "new-habits": ("error-drift",),
    "units": ("data-quality",),
    "outage": ("data-quality",),
    "poison": ("data-quality",),
}
MAX_DAYS_TO_NOTICE, MAX_FAULT_ERROR_RATIO = 1, 1.5  # of a fault of inputs; to the normal error during it


def main(
    scenario: Annotated[str, typer.Option(help="By name or path.")] = "default",
    feed: Annotated[Path | None, typer.Option(help="A clean feed of your own.")] = None,
    begin: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"])] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"])] = None,
    calendar: Annotated[
        int | None, typer.Option(min=1, help="Also the level below, with so many trainings on fixed dates.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the numbers go as JSON.")] = None,
) -> None:
    """Replay a story and print the loop's results; status 1 if they are worse than the limits."""
    console = Console()
    story = load_story(scenario, feed, begin.date() if begin else None, end.date() if end else None)
    with workcopy.exclusive("loop") as place:
        results = _replay(story, calendar, workcopy.make_empty(place), console)
    report = _report(story, calendar, results)
    if out is not None:
        out.write_text(json.dumps(report, indent=1), encoding="utf-8")
    _print(report, console)
    raise typer.Exit(int(not all(report["kept"].values())))


def _replay(story: Story, calendar: int | None, folder: Path, console: Console) -> dict[str, Any]:
    people = runbook.load_people()
    days = (story.end - story.start).days + 1
    chosen = level(LEVEL)
    copy = workcopy.make(chosen, folder / f"level{LEVEL}")
    plan = runbook.plan(chosen, people.team(chosen), runbook.load(copy), story.start, story.end)
    job = Job(chosen, copy, story, plan, people.team(chosen), questions=False)
    work = {"loop": Task(chosen.title, days, partial(replay, job))}
    if calendar:
        below = level(LEVEL - 1)
        copy = workcopy.make(below, folder / f"level{below.number}")
        release = runbook.load(copy).release
        dates = [story.start + timedelta(days=round(days * turn / calendar)) for turn in range(calendar)]
        due = tuple(Due(day, turn, step) for turn, day in enumerate(dates) for step in release)
        job = Job(below, copy, story, due, people.team(below), questions=False)
        title = f"{calendar} trainings on fixed dates"
        work["calendar"] = Task(title, days, partial(replay, job))
    recipe = workcopy.make(level(1), folder / "oracle")
    oracles = {"weekly": (7, story.start)}
    if story.incidents:
        oracles["daily"] = (1, story.start - timedelta(days=measures.DAYS))
    for name, (every, first) in oracles.items():
        oracle = partial(run_oracle, recipe, story, first, every=every)
        work[name] = Task(f"Oracle, {name}", (story.end - first).days + 1, oracle)
    with Live(work, console) as watch:
        return run_in_parallel(work, [watch])


def _report(story: Story, calendar: int | None, results: dict[str, Any]) -> dict[str, Any]:
    clean = story.clean_rows()
    replayed: ReplayResult = results["loop"]
    days = measures.daily_error(replayed.predictions, clean)
    weekly = measures.mean_error(measures.daily_error(results["weekly"], clean))
    mine = measures.mean_error(days)
    oracle_trainings = -(-((story.end - story.start).days + 1) // 7)
    report: dict[str, Any] = {
        "story": {"name": story.name, "from": f"{story.start}", "to": f"{story.end}", "hours": len(clean)},
        "mae": round(mine, 2),
        "weekly_oracle": round(weekly, 2),
        "ratio": round(mine / weekly, 3),
        "trainings": replayed.trainings,
        "oracle_trainings": oracle_trainings,
        "releases": len(replayed.releases),
        "rollbacks": len(replayed.reported["rollbacks"]),
        "failed_requests": replayed.failed_requests,
        "machine_seconds": replayed.machine_seconds,
        "trained_because": [
            {"at": each["at"], "reason": each["reason"], "result": each["detail"].get("result")}
            for each in replayed.reported["trainings"]
        ],
        "incidents": [],
        "kept": {},
    }
    if story.incidents:
        known = story.clean[story.clean["timestamp"].isin(results["daily"]["timestamp"])]
        daily = measures.daily_error(results["daily"], known)
        report["incidents"] = [_incident(each, replayed, days, daily) for each in story.incidents]
    kept = report["kept"]
    kept[f"error within {MAX_ERROR_RATIO} of the weekly oracle"] = mine <= MAX_ERROR_RATIO * weekly
    kept["at most half as many trainings"] = replayed.trainings <= MAX_TRAINING_SHARE * oracle_trainings
    kept["no failed request"] = not replayed.failed_requests
    if calendar:
        other: ReplayResult = results["calendar"]
        on_dates = measures.mean_error(measures.daily_error(other.predictions, clean))
        report["calendar"] = {"mae": round(on_dates, 2), "trainings": other.trainings}
        kept["better than the calendar"] = mine < on_dates
    for each in report["incidents"]:
        kept |= {f"{each['kind']}: {what}": is_so for what, is_so in each.pop("kept").items()}
    return report


def _incident(
    incident: Incident, replayed: ReplayResult, days: pd.DataFrame, daily: pd.DataFrame
) -> dict[str, Any]:
    """When it was detected, the trainings during it, and how long the error was not normal."""
    noticed = [
        datetime.fromisoformat(each["detected_at"]).date()
        for each in replayed.reported["incidents"]
        if each["kind"] in NOTICED_AS[incident.kind]
        and incident.since < datetime.fromisoformat(each["detected_at"]).date()
        and (each["ended_at"] is None or each["ended_at"][:10] > incident.since.isoformat())
    ]
    open_then = any(
        each["detected_at"][:10] <= incident.since.isoformat()
        and each["kind"] == "error-drift"
        and (each["ended_at"] is None or each["ended_at"][:10] > incident.since.isoformat())
        for each in replayed.reported["incidents"]
    )
    trained = [date.fromisoformat(each["at"][:10]) for each in replayed.reported["trainings"]]
    last = incident.until
    found: dict[str, Any] = {
        "kind": incident.kind,
        "from": incident.since.isoformat(),
        "to": last.isoformat() if last else None,
        "days_to_notice": min(((day - incident.since).days for day in noticed), default=None),
        "noticed_before": open_then,
        "days_to_training": min(
            ((day - incident.since).days for day in trained if day > incident.since), default=None
        ),
        "days_to_recover": measures.days_to_recover(days, daily, incident.since),
        "trained_during": sum(incident.since < day <= last for day in trained) if last else None,
        "kept": {},
    }
    kept = found["kept"]
    if incident.kind == "growth":
        kept[f"found within {MAX_DAYS_TO_TRAIN} days"] = _within(found["days_to_training"], MAX_DAYS_TO_TRAIN)
        kept[f"recovered within {MAX_DAYS_TO_RECOVER} days"] = _within(
            found["days_to_recover"], MAX_DAYS_TO_RECOVER
        )
    if incident.kind == "units" and last:
        during, normal = days.loc[incident.since : last], daily.loc[incident.since : last]
        found["times_normal"] = round(measures.mean_error(during) / measures.mean_error(normal), 2)
        kept["noticed within a day"] = _within(found["days_to_notice"], MAX_DAYS_TO_NOTICE)
        kept["no training on it"] = found["trained_during"] == 0
        kept[f"no worse than {MAX_FAULT_ERROR_RATIO} times normal"] = (
            found["times_normal"] <= MAX_FAULT_ERROR_RATIO
        )
    if incident.kind == "poison":
        kept["no training on it"] = found["trained_during"] == 0
    return found


def _within(days: int | None, most: int) -> bool:
    return days is not None and days <= most


def _print(report: dict[str, Any], console: Console) -> None:
    facts = report["story"]
    table = Table(title=f"{facts['name']}, {facts['from']} to {facts['to']}", title_justify="left")
    for column in ("", "error", "trainings"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("the loop", f"{report['mae']:.2f}", str(report["trainings"]))
    if "calendar" in report:
        other = report["calendar"]
        table.add_row("on fixed dates", f"{other['mae']:.2f}", str(other["trainings"]))
    table.add_row("oracle, weekly", f"{report['weekly_oracle']:.2f}", str(report["oracle_trainings"]))
    console.print(table)
    console.print(
        f"{report['ratio']:.3f} times the oracle's error; {report['releases']} releases,"
        f" {report['rollbacks']} rolled back; {report['failed_requests']} failed requests;"
        f" {report['machine_seconds']:.0f} s of CPU.",
        highlight=False,
    )
    for each in report["incidents"]:
        reported = ", ".join(
            f"{key} {value}" for key, value in each.items() if key not in ("kind", "from", "to")
        )
        console.print(f"{each['kind']} from {each['from']}: {reported}", highlight=False)
    for what, is_so in report["kept"].items():
        console.print(f"  {'ok' if is_so else '[red]FAILED[/red]'}  {what}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
