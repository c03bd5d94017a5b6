"""One level lives through a story in its working copy, day by day, by its own commands and nothing else."""

import contextlib
import importlib
import io
import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import httpx
import pandas as pd

from data import UserError
from data.feedfile import update_feed, write_feed
from ladder import runbook, users
from ladder.hands import environment, perform, type_in
from ladder.levels import Level
from ladder.service import Service
from ladder.story import Story
from ladder.workcopy import home

NOTEBOOK_SEED = 20110101  # the dice of a replay; the notebook itself sets no seed


@dataclass
class Lived:
    """What came of it: `answers` has one row an hour (timestamp, prediction or NaN where none was given)."""

    level: int
    answers: pd.DataFrame
    releases: list[str] = field(default_factory=list)
    release_steps: int = 0
    daily_steps: int = 0
    failed_requests: int = 0
    machine_seconds: float = 0.0


@dataclass(frozen=True)
class Job:
    """A level, its working copy, the story and who does what when: all that its own process needs."""

    level: Level
    folder: Path
    story: Story
    plan: tuple[tuple[date, runbook.Step], ...]


def live_through(job: Job, tell: Callable[[date], None]) -> Lived:
    """Live through the story; `tell` is called after each day.

    Day D: the feed through D-1 is published, the machine's scheduled steps and what is due for people are
    done, then the day's requests are sent. Raises UserError where a step fails.
    """
    os.environ.update(environment())
    os.chdir(job.folder)
    sys.path.insert(0, str(job.folder))
    book = runbook.load(job.folder)
    due: dict[date, list[runbook.Step]] = defaultdict(list)
    for day, step in job.plan:
        due[day].append(step)
    every = job.story.asked()
    asked = dict(iter(every.groupby(every["timestamp"].dt.date)))
    lived = Lived(job.level.number, pd.DataFrame())
    answers: list[float | None] = []
    began = sum(os.times()[:4])  # this process and its children, user and system
    with contextlib.ExitStack() as stack:
        service: Service | None = None
        if job.level.number > 0:
            service = stack.enter_context(
                Service(job.folder, job.folder / "state" / "service.log", env=environment())
            )
            client = stack.enter_context(httpx.Client(base_url=service.url, timeout=30))
            ask = partial(users.by_http, client=client)
        else:
            score = partial(_in_this_process, "python score.py day.csv predictions.csv", job.folder)
            ask = partial(users.by_file, folder=job.folder, score=score)
        day = min(due)
        while day <= job.story.end:
            shown = job.story.published(day)
            if day == min(due):
                write_feed(shown, job.folder / "feed")
            else:
                update_feed(shown[shown["timestamp"] >= _first_that_may_change(day)], job.folder / "feed")
            for step in (*book.daily, *due[day]):
                perform(step, job.folder, _in_this_process, service)
            if due[day] and due[day][-1].id == book.release[-1].id:
                lived.releases.append(day.isoformat())
            lived.release_steps += sum(step.by_hand for step in due[day])
            if day >= job.story.start:
                lived.daily_steps += sum(step.by_hand for step in (*book.daily, *book.use))
                if day in asked:
                    answers += ask(asked[day])
            tell(day)
            day += timedelta(days=1)
    lived.answers = job.story.during()[["timestamp"]].assign(
        prediction=pd.array(answers, dtype="Float64").to_numpy(dtype=float, na_value=float("nan"))
    )
    lived.failed_requests = int(lived.answers["prediction"].isna().sum())
    lived.machine_seconds = round(sum(os.times()[:4]) - began, 1)
    return lived


def _first_that_may_change(day: date) -> pd.Timestamp:
    """The first hour of the month before that of the day: no fault delays an hour by more than a month."""
    return pd.Timestamp((day.replace(day=1) - timedelta(days=1)).replace(day=1))


def _in_this_process(command: str, folder: Path) -> str:
    """Run a level's own command without a new interpreter for each day; others as a process.

    Raises UserError with the command's last line where it fails.
    """
    program, *arguments = shlex.split(command)
    if (program, *arguments[:1]) == ("jupyter", "execute"):
        _execute_notebook(folder / arguments[-1])
        return ""
    if program != "python":
        return type_in(command, folder)
    if arguments[:2] == ["-m", "bike_demand"]:
        main, arguments = importlib.import_module("bike_demand.__main__").main, arguments[2:]
    elif arguments[0] == "score.py":
        main, arguments = importlib.import_module("score").main, arguments[1:]
    else:
        return type_in(command, folder)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(arguments)
    if status:
        last = [line for line in said.getvalue().splitlines() if line.strip()][-1:]
        raise UserError(f"`{command}` ended with status {status}: {''.join(last)}")
    return said.getvalue()


def _execute_notebook(path: Path) -> None:
    """Run all cells from the top in a kernel, with the dice loaded so that a replay can be repeated."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    dice = f"import numpy; numpy.random.seed({NOTEBOOK_SEED})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(dice))  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    with (home() / "tools" / "kernel.log").open("ab") as log:  # what the kernel says of itself
        client.execute(stderr=log)
