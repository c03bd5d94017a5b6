"""One level lives through a story in its working copy, day by day, by its own commands and nothing else."""

import contextlib
import importlib
import io
import json
import os
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

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

TAKES_SECONDS = 15  # after which an application that follows a registry has surely looked
NOTEBOOK_SEED = 20110101  # the dice of a replay; the notebook itself sets no seed


@dataclass
class Lived:
    """What came of it: `answers` has one row an hour (timestamp, prediction or NaN where none was given)."""

    level: int
    answers: pd.DataFrame
    releases: list[str] = field(default_factory=list)  # days on which another model was live
    trainings: int = 0  # how many were begun
    release_steps: int = 0
    daily_steps: int = 0
    refused: list[dict[str, str]] = field(default_factory=list)
    failed_requests: int = 0
    machine_seconds: float = 0.0
    told: dict[str, Any] = field(default_factory=dict)  # what the level says that it did by itself


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
    done, then the day's requests are sent, and the true counts where the level takes them. Raises UserError
    where a step fails.
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
    known = dict(iter(job.story.during().groupby(job.story.during()["timestamp"].dt.date)))
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
            score = partial(in_this_process, "python score.py day.csv predictions.csv", job.folder)
            ask = partial(users.by_file, folder=job.folder, score=score)
        release = _Release(job.folder, book, lived, service)
        day = min(due)
        while day <= job.story.end:
            shown = job.story.published(day)
            if day == min(due):
                write_feed(shown, job.folder / "feed")
            else:
                update_feed(shown[shown["timestamp"] >= _first_that_may_change(day)], job.folder / "feed")
            for step in book.daily:
                perform(step, job.folder, in_this_process, service)
            release.go_on(day, due[day])
            if day >= job.story.start:
                if service is not None and not service.running():
                    service.start()
                release.note_what_is_live(day)
                lived.daily_steps += sum(step.by_hand for step in (*book.daily, *book.use))
                if day in asked:
                    answers += ask(asked[day])
                    if service is not None and book.outcomes:
                        users.tell_outcomes(known[day], client, book.outcomes)
            tell(day)
            day += timedelta(days=1)
        if book.tells:
            lived.told = json.loads(in_this_process(book.tells, job.folder))
            lived.trainings = len(lived.told["trainings"])
    lived.answers = job.story.during()[["timestamp"]].assign(
        prediction=pd.array(answers, dtype="Float64").to_numpy(dtype=float, na_value=float("nan"))
    )
    lived.failed_requests = int(lived.answers["prediction"].isna().sum())
    lived.machine_seconds = round(sum(os.times()[:4]) - began, 1)
    return lived


class _Release:
    """Releases as they go on day by day; one that a gate refuses ends there, and the old model stays."""

    def __init__(self, folder: Path, book: runbook.Runbook, lived: Lived, service: Service | None) -> None:
        self._folder, self._book, self._lived, self._service = folder, book, lived, service
        self._refused = False
        self._known: str | None = None  # what was live when it was last looked at

    def go_on(self, day: date, steps: Sequence[runbook.Step]) -> None:
        """Do what is due on that day. Raises UserError where a step fails that is not a gate."""
        for step in steps:
            if step.id == self._book.release[0].id:
                self._refused = False
            if self._refused:
                continue
            live = self._live()
            self._lived.trainings += step.trains
            try:
                perform(step, self._folder, in_this_process, self._service)
            except UserError as error:
                if not step.gate:
                    raise
                self._refused = True
                self._lived.refused.append({"on": day.isoformat(), "step": step.id, "says": str(error)})
            self._lived.release_steps += step.by_hand
            if step.id == self._book.release[-1].id and not self._refused:
                if self._service is None:
                    self._lived.releases.append(day.isoformat())
                elif step.by_hand:  # a machine's command looks itself that it is done
                    self._wait_for_another_than(live)

    def note_what_is_live(self, day: date) -> None:
        """Another model than the day before was released, whoever did it."""
        live = self._live()
        if live is not None and live != self._known:
            self._lived.releases.append(day.isoformat())
            self._known = live

    def _live(self) -> str | None:
        """The version that users get; None where no application runs, or it has no model."""
        if self._service is None or not self._service.running():
            return None
        answer = httpx.get(f"{self._service.url}/model", timeout=30)
        return str(answer.json()["version"]) if answer.is_success else None

    def _wait_for_another_than(self, live: str | None) -> None:
        """A story's day is shorter than the time an application may take to notice what is live."""
        until = time.monotonic() + TAKES_SECONDS
        while live is not None and self._live() == live and time.monotonic() < until:
            time.sleep(0.05)


def _first_that_may_change(day: date) -> pd.Timestamp:
    """The first hour of the month before that of the day: no fault delays an hour by more than a month."""
    return pd.Timestamp((day.replace(day=1) - timedelta(days=1)).replace(day=1))


def in_this_process(command: str, folder: Path) -> str:
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
    """Run all cells from the top in a kernel, with the dice loaded so that a replay can be repeated.

    Raises UserError where the kernel dies, as it does when somebody stops the replay.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    dice = f"import numpy; numpy.random.seed({NOTEBOOK_SEED})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(dice))  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    with (home() / "tools" / "kernel.log").open("ab") as log:  # what the kernel says of itself
        try:
            client.execute(stderr=log)
        # A kernel that is stopped is dead to nbclient, or while it starts gone from under its hands.
        except (DeadKernelError, RuntimeError, AssertionError) as error:
            raise UserError(f"{path.name}: its kernel is gone: {error}") from None
