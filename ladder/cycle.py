"""`ladder run` and `ladder up`: one level's life cycle step by step, and what it runs, in a working copy."""

import contextlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import httpx
import pandas as pd
from rich.console import Console
from rich.table import Table

from data import UserError
from data.feedfile import INPUTS, read_feed, write_feed
from ladder import runbook, users, workcopy
from ladder.hands import environment, perform, type_in
from ladder.levels import ROOT, Level, level
from ladder.replay import in_this_process
from ladder.service import Service, is_free

FEED = ROOT / "data" / "feed"
LOG_OF_TOOLS = ("[NbClientApp]", "[IPKernelApp]")  # what Jupyter says of itself, not of the notebook
TODAY = date(2011, 10, 1)  # the day on which `run` and `up` happen; nine months of feed lie before it
EARLIER = date(2011, 9, 1)  # the release before that, at a level that tries a new model against the live one
MOST_DAYS = 21  # in which such a trial has come to its end


def run(number: int, console: Console) -> None:
    """Play the level's runbook once, then ask it for predictions; print who did what and how long it took.

    Raises UserError where a step fails.
    """
    chosen = level(number)
    with workcopy.alone("run") as place:
        _run(chosen, _working_copy(chosen, place, console), console)


def _run(chosen: Level, folder: Path, console: Console) -> None:
    book = runbook.load(folder)
    table = Table(title="One release", title_justify="left", title_style="bold")
    for column in ("who", "step", "command or move"):
        table.add_column(column, overflow="fold")
    table.add_column("machine", justify="right")
    today = TODAY
    with Service(folder, folder / "state" / "service.log", env=environment()) as service:
        if book.outcomes:
            _release_earlier(book, folder, service, console)
        for step in (*book.daily, *book.release):
            seconds = _perform(step, folder, service if chosen.number else None, console)
            table.add_row(step.who, step.id, _what(step), f"{seconds:.1f} s" if _what(step) else "")
        if chosen.number and not service.running():
            service.start()
        if book.outcomes:
            today = _days_that_follow(book, folder, service, console)
        _use(chosen, book, folder, service, console, today)
    console.print(table)
    steps = (*book.daily, *book.release)
    by_hand = sum(step.by_hand for step in steps)
    given = sum(step.gives_to is not None for step in steps)
    console.print(f"{by_hand} of {len(steps)} steps need a person; hand-overs between roles: {given}.")
    people = runbook.load_people().levels[chosen.number]
    days = sum(duration.days for duration in people.days.values())
    console.print(
        f"People are assumed to take {days} days for it (data/people.yaml)."
        f" Working copy: {workcopy.short(folder)}"
    )


def up(number: int, port: int | None, empty: bool, console: Console) -> None:
    """Release a model (unless `empty`), start the application, print its addresses, stop it on Ctrl-C.

    Raises UserError where there is nothing to start, a step fails, or the application ends by itself.
    """
    chosen = level(number)
    if chosen.number == 0:
        raise UserError("level 0 runs nothing: a person runs score.py on a CSV; see `ladder run 0`")
    if port is not None and not is_free(port):
        raise UserError(f"port {port} is taken by another program: choose another one")
    with workcopy.alone("up") as place, ExitStack() as stack:
        folder = _working_copy(chosen, place, console)
        book = runbook.load(folder)
        service = stack.enter_context(Service(folder, folder / "state" / "service.log", port, environment()))
        if not empty:
            if book.outcomes:
                _release_earlier(book, folder, service, console)
            for step in (*book.daily, *book.release):
                _perform(step, folder, service, console)
        if not service.running():
            service.start()
        pages = [(page, stack.enter_context(_server(page, folder))) for page in book.pages]
        names = " and ".join(page.name for page in book.pages)
        with console.status(f"starting {names}" if names else ""), ThreadPoolExecutor() as at_once:
            list(at_once.map(Service.start, [server for _, server in pages]))
        console.print(f"\n[bold]application[/bold]  {service.url}/docs")
        ready = httpx.get(f"{service.url}/ready").json()
        model = httpx.get(f"{service.url}/model").json()
        console.print(
            f"  model      {model['version'] if 'version' in model else ready['detail']}", soft_wrap=True
        )
        console.print(f"  log        {workcopy.short(service.log)}", soft_wrap=True)
        for page, server in pages:
            console.print(f"[bold]{page.name}[/bold]  {server.url}")
        console.print(f"The project is in {workcopy.short(folder)}. Ctrl-C stops it all.", soft_wrap=True)
        status = service.wait()
    raise UserError(f"the application ended with status {status}: see {workcopy.short(service.log)}")


def _server(page: runbook.Page, folder: Path) -> Service:
    env = environment()
    program, *arguments = shlex.split(page.command)
    found = shutil.which(program, path=env["PATH"])
    if found is None:
        raise UserError(f"there is no program `{program}` to start {page.name} with")
    here = {name: value.replace("{folder}", str(folder)) for name, value in page.env.items()}
    log = folder / "state" / f"{page.name.lower()}.log"
    return Service(folder, log, env=env | here, command=[found, *arguments], probe=page.probe)


def _working_copy(chosen: Level, place: Path, console: Console) -> Path:
    folder = workcopy.make(chosen, workcopy.fresh(place / f"level{chosen.number}"))
    _publish(folder, TODAY)
    console.print(f"[bold]{chosen.title}[/bold]", highlight=False)
    console.print(
        f"working copy {workcopy.short(folder)}, the feed until {TODAY}", highlight=False, soft_wrap=True
    )
    return folder


def _publish(folder: Path, until: date) -> None:
    """The feed as it is on the morning of that day."""
    clean = read_feed(FEED)
    write_feed(clean[clean["timestamp"] < pd.Timestamp(until)], folder / "feed")


def _release_earlier(book: runbook.Runbook, folder: Path, service: Service, console: Console) -> None:
    """Let a model be live already, as on any day but the first: the new one is tried against it."""
    _publish(folder, EARLIER)
    with console.status(f"releasing the model of {EARLIER}, against which the new one will be tried"):
        for step in (*book.daily, *book.release):
            perform(step, folder, type_in, service)
        if not service.running():
            service.start()
    _publish(folder, TODAY)
    console.print(f"A model that learned until {EARLIER} is live.", highlight=False)


def _days_that_follow(book: runbook.Runbook, folder: Path, service: Service, console: Console) -> date:
    """Users ask, true counts follow, and the level's daily steps see to the rest; the day on which another
    model was live, or the last one looked at.
    """
    clean = read_feed(FEED)
    sys.path.insert(0, str(folder))
    console.print("\nThe days that follow: users ask for each hour, and the true counts become known.")
    with httpx.Client(base_url=service.url, timeout=30) as client, contextlib.chdir(folder):
        before = client.get("/model").json()["version"]
        today = TODAY
        for _ in range(MOST_DAYS):
            inside = clean["timestamp"].dt.date == today
            day = clean[inside].reset_index(drop=True)
            users.by_http(day[INPUTS], client)
            users.tell_outcomes(day, client, book.outcomes or "")
            today += timedelta(days=1)
            _publish(folder, today)
            said = ""
            for step in book.daily:
                said = perform(step, folder, in_this_process, service)
            told = [line for line in said.splitlines() if line.strip()]
            console.print(
                f"  {today}  {told[-1] if told else ''}",
                style="dim",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
            if client.get("/model").json()["version"] != before:
                break
    return today


def _perform(step: runbook.Step, folder: Path, service: Service | None, console: Console) -> float:
    """Do one step, say so, and return the wall seconds it took the machine."""
    hand = f" -> {step.gives_to}" if step.gives_to else ""
    console.print(f"\n[bold cyan]{step.who}{hand}[/bold cyan]  {step.does}", highlight=False)
    if what := _what(step):
        console.print(f"  [green]$ {what}[/green]", highlight=False, soft_wrap=True)
    start = time.perf_counter()
    with console.status("working"):
        said = perform(step, folder, type_in, service)
    told = [line for line in said.splitlines() if line.strip() and not line.startswith(LOG_OF_TOOLS)]
    for line in told[-6:]:
        console.print(f"  {line}", style="dim", highlight=False, markup=False, soft_wrap=True)
    return time.perf_counter() - start


def _use(
    chosen: Level, book: runbook.Runbook, folder: Path, service: Service, console: Console, today: date
) -> None:
    """Ask for the next week's predictions in the level's own way."""
    clean = read_feed(FEED)
    after = clean["timestamp"] >= pd.Timestamp(today)
    week = clean[after & (clean["timestamp"] < pd.Timestamp(today) + pd.Timedelta(days=7))]
    week = week.reset_index(drop=True)
    rows = week[INPUTS]
    if chosen.number == 0:
        score = partial(_each, book.use, folder, console)
        said = users.by_file(rows, folder, score)
    else:
        console.print("\n[bold cyan]user[/bold cyan]  Asks the application for the next week, hour by hour.")
        console.print(f"  [green]$ POST {service.url}/predict[/green]", highlight=False)
        body = users.as_bodies(rows)[8]
        with httpx.Client(base_url=service.url) as client:
            shown = client.post("/predict", json=body).text
            said = users.by_http(rows, client)
        console.print(
            f"  {json.dumps(body)}\n  {shown}", style="dim", highlight=False, markup=False, soft_wrap=True
        )
    error = (pd.Series(said, dtype=float).fillna(0) - week["count"]).abs().mean()
    console.print(
        f"\nOver the next week the predictions are off by {error:.1f} bikes an hour.\n", highlight=False
    )


def _each(steps: Sequence[runbook.Step], folder: Path, console: Console) -> None:
    for step in steps:
        _perform(step, folder, None, console)


def _what(step: runbook.Step) -> str:
    if step.command:
        return step.command
    if move := step.copies or step.pastes:
        return f"{'copy' if step.copies else 'paste'} {move.source} -> {move.to}"
    return f"restart the {step.restarts}" if step.restarts else ""
