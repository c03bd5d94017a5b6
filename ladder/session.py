"""The shared part of `run` and `up`: a working copy on a day of its feed, and visible steps."""

import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
from rich.console import Console

from ladder import runbook, workcopy
from ladder.levels import Level
from ladder.output import print_line
from ladder.service import Service
from ladder.steps import run_command, run_step
from ladder.story import Story, load_story
from ladder.world.faults import as_requested
from ladder.world.feedfile import between, write_feed

LOG_OF_TOOLS = ("[NbClientApp]", "[IPKernelApp]")  # log lines of Jupyter, not output of the notebook
FOR_MACHINES = "{"  # prefix of JSON lines, which are for log collectors
BEFORE = timedelta(days=30)  # the release before that, at a level that A/B-tests a new model


@dataclass(frozen=True)
class Session:
    """A working copy, its story, and the day on which it is shown."""

    folder: Path
    book: runbook.Runbook
    story: Story
    today: date

    def publish(self, until: date) -> None:
        """Publish the feed as of the morning of that day, with reporting faults."""
        write_feed(self.story.published(until), self.folder / "feed")

    def known(self, first: date, days: int = 1) -> pd.DataFrame:
        """The hours of these days as they were, with their labels; columns as in `read_feed`."""
        return between(self.story.clean, first, first + timedelta(days=days))

    def requests(self, first: date, days: int = 1) -> pd.DataFrame:
        """The request for each of these hours: its input columns, with reporting faults."""
        return as_requested(self.known(first, days), self.story.scenario.faults)


def set_up(chosen: Level, place: Path, scenario: str | None, console: Console) -> Session:
    """A new working copy, in the scenario that the level is shown in, starting where something happens.

    Raises UserError if the scenario cannot be played.
    """
    folder = workcopy.make(chosen, workcopy.make_empty(place / f"level{chosen.number}"))
    book = runbook.load(folder)
    story = load_story(scenario or book.demo_scenario)
    begins = next((each.since for each in story.incidents), story.start)
    session = Session(folder, book, story, begins)
    session.publish(session.today)
    console.print(f"[bold]{chosen.title}[/bold]")
    console.print(f"{story.scenario.title}: {story.scenario.says}")
    print_line(console, f"Working copy {workcopy.display_path(folder)}, feed up to {session.today}")
    return session


def release_first_champion(
    session: Session, service: Service, console: Console, before: timedelta = BEFORE
) -> None:
    """Release an earlier model first, so that there is a champion to compare with."""
    earlier = session.today - before
    session.publish(earlier)
    with console.status(f"releasing a model trained up to {earlier} as champion"):
        for step in (*session.book.daily, *session.book.release):
            run_step(step, session.folder, run_command, service)
        if not service.is_running():
            service.start()
    session.publish(session.today)
    console.print(f"Champion: trained on data up to {earlier}.")


def show(step: runbook.Step, folder: Path, service: Service | None, console: Console) -> float:
    """Do one step, print it, and return the wall seconds it took the machine."""
    hand = f" -> {step.gives_to}" if step.gives_to else ""
    console.print(f"\n[bold cyan]{step.who}{hand}[/bold cyan]  {step.does}")
    if what := describe(step):
        print_line(console, f"  $ {what}", "green")
    start = time.perf_counter()
    with console.status("working"):
        output = run_step(step, folder, run_command, service)
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(LOG_OF_TOOLS)]
    for line in lines[-6:]:
        print_line(console, f"  {line}", "dim")
    return time.perf_counter() - start


def describe(step: runbook.Step) -> str:
    """The command or file move of a step; empty for a purely mental step."""
    if step.command:
        return step.command
    if move := step.copies or step.pastes:
        return f"{'copy' if step.copies else 'paste'} {move.source} -> {move.to}"
    return f"restart the {step.restarts}" if step.restarts else ""
