"""`ladder up`: what a level runs, on loopback, until Ctrl-C; with a story, days pass in seconds."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from time import monotonic, sleep

import httpx
from rich.console import Console

from ladder import UserError, runbook, users, workcopy
from ladder.flows import FlowServer
from ladder.levels import level
from ladder.output import print_line
from ladder.service import Service, free_port, is_free
from ladder.stage import FOR_MACHINES, Stage, release_earlier, set_up, show
from ladder.steps import environment, found
from ladder.world.feedfile import INPUTS

LINKS = "BIKE_DASHBOARD__LINKS"  # the addresses that the application's dashboard links to
CALM_DAYS = 3  # of a story, before something happens


def up(
    number: int,
    port: int | None,
    console: Console,
    *,
    empty: bool = False,
    scenario: str | None = None,
    seconds: float | None = None,
) -> None:
    """Release a model (unless `empty`), start what the level runs, print the addresses, stop it on Ctrl-C.

    `seconds`: also play a story, that of `scenario` or the level's own, one day in so many of them. Raises
    UserError where there is nothing to start or to play, a step fails, or the application ends by itself.
    """
    chosen = level(number)
    if chosen.number == 0:
        raise UserError("level 0 runs nothing: a person runs score.py on a CSV; see `ladder run 0`")
    if port is not None and not is_free(port):
        raise UserError(f"port {port} is taken by another program: choose another one")
    if seconds is not None and not runbook.load(chosen.folder).background:
        raise UserError(f"level {number} does nothing by itself while a story passes: take level 4")
    with workcopy.alone("up") as place, ExitStack() as stack:
        stage = set_up(chosen, place, scenario, console)
        if seconds is not None:
            stage = replace(stage, today=stage.today - timedelta(days=CALM_DAYS))
            stage.publish(stage.today)
        book, folder = stage.book, stage.folder
        pages = [(page, server_of(page, folder)) for page in book.pages]
        links = {LINKS: json.dumps({page.name: server.url + page.path for page, server in pages})}
        service = stack.enter_context(
            Service(folder, folder / "state" / "service.log", port, environment() | links)
        )
        if not empty:
            _release(stage, service, console, earlier_only=seconds is not None)
        if not service.running():
            service.start()
        names = " and ".join(page.name for page in book.pages)
        with (
            console.status(f"starting {names}: half a minute" if names else ""),
            ThreadPoolExecutor() as many,
        ):
            list(many.map(Service.start, [stack.enter_context(server) for _, server in pages]))
        if seconds is None or book.flows is None:
            background = [stack.enter_context(_background(step, folder, seconds)) for step in book.background]
            for each in background:
                each.start()
            flows = None
        else:
            background = []
            (server,) = (server for page, server in pages if page.name == book.flows.page)
            flows = stack.enter_context(FlowServer(book.flows, server, folder))
            with console.status(f"deploying the flows to {book.flows.page}"):
                flows.start()
        _addresses(stage, service, pages, background, console)
        if seconds is not None:
            _play(stage, service, background, flows, seconds, console)
        status = service.wait()
    raise UserError(f"the application ended with status {status}: see {workcopy.short(service.log)}")


def _release(stage: Stage, service: Service, console: Console, *, earlier_only: bool) -> None:
    if stage.book.outcomes:
        release_earlier(stage, service, console)
    for step in () if earlier_only else (*stage.book.daily, *stage.book.release):
        show(step, stage.folder, service, console)


def _addresses(
    stage: Stage,
    service: Service,
    pages: Sequence[tuple[runbook.Page, Service]],
    background: Sequence[Service],
    console: Console,
) -> None:
    console.print(f"\n[bold]application[/bold]  {service.url}/docs")
    ready = httpx.get(f"{service.url}/ready").json()
    model = httpx.get(f"{service.url}/model").json()
    console.print(
        f"  model      {model['version'] if 'version' in model else ready['detail']}", soft_wrap=True
    )
    console.print(f"  log        {workcopy.short(service.log)}", soft_wrap=True)
    if httpx.get(f"{service.url}/dashboard").is_success:
        console.print(f"[bold]dashboard[/bold]  {service.url}/dashboard")
    for page, server in pages:
        console.print(f"[bold]{page.name}[/bold]  {server.url}{page.path}", soft_wrap=True)
    for each in background:
        console.print(f"[bold]{each.log.stem}[/bold]  {workcopy.short(each.log)}")
    console.print(f"The project is in {workcopy.short(stage.folder)}. Ctrl-C stops it all.", soft_wrap=True)


def _play(
    stage: Stage,
    service: Service,
    background: Sequence[Service],
    flows: FlowServer | None,
    seconds: float,
    console: Console,
) -> None:
    """Days pass: the flows that are due, a request for each hour, then the outcomes; what the level does is
    shown.
    """
    waits = "" if flows is None else ", once its flow runs have ended"
    console.print(f"\nA day passes in {seconds:g} seconds{waits}. Watch the dashboard.")
    logs = [_Lines(each.log) for each in background]
    today = stage.today
    with httpx.Client(base_url=service.url, timeout=30) as client:
        while today <= stage.end and service.running():
            stage.publish(today)
            if flows is not None:
                _show_flows(flows, today, console)
            day = stage.day(today)
            error = 0.0
            for number in range(len(day)):
                began = monotonic()
                (prediction,) = users.by_http(day[INPUTS].iloc[[number]], client)
                error += abs((prediction or 0.0) - float(day["count"].iloc[number]))
                sleep(max(0.0, seconds / max(1, len(day)) - (monotonic() - began)))
            users.post_outcomes(day, client, stage.book.outcomes or "")
            live = client.get("/model").json()
            other = f", version {live['other']['version']} next to it" if live["other"] else ""
            console.print(
                f"[bold]{today}[/bold]  off by {error / max(1, len(day)):5.1f} bikes an hour,"
                f" version {live['version']} is live{other}"
            )
            for line in (line for each in logs for line in each.new()):
                print_line(console, f"  {line}", "dim")
            today += timedelta(days=1)
    console.print("The story is over; what it led to stays up until Ctrl-C.")


def _show_flows(flows: FlowServer, today: date, console: Console) -> None:
    """Run the flows of a day, and print each with what is new in what it printed."""
    printed: set[str] = set()
    with console.status("") as status:
        for run in flows.run(today, lambda names: status.update(f"{today}  {names}")):
            print_line(console, f"  {run.name}, {run.seconds:.0f} s", "cyan")
            for line in run.lines:
                if line not in printed and not line.startswith(FOR_MACHINES):
                    print_line(console, f"    {line}", "dim")
            printed |= set(run.lines)
            for failure in run.failures:
                print_line(console, f"    {failure}", "red")


class _Lines:
    """The lines that a log has got since the last call."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, path.stat().st_size if path.exists() else 0

    def new(self) -> Iterator[str]:
        with self._path.open("rb") as log:
            log.seek(self._at)
            content = log.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._at += len(whole)
        for line in whole.decode("utf-8", errors="replace").splitlines():
            if line.strip() and not line.startswith(FOR_MACHINES):
                yield line


def server_of(page: runbook.Page, folder: Path) -> Service:
    """The server of a page, not started yet."""
    port, log = free_port(), folder / "state" / f"{page.name.lower()}.log"
    here = {name: runbook.placed(value, folder, port) for name, value in page.env.items()}
    return Service(folder, log, port, environment() | here, found(page.command), page.probe)


def _background(step: runbook.Step, folder: Path, seconds: float | None) -> Service:
    """What runs next to the application; where days pass in seconds, as often."""
    command = step.command or ""
    if seconds is not None:
        command += f" --every {seconds / 2:g}"
    log = folder / "state" / f"{step.id}.log"
    return Service(folder, log, env=environment(), command=found(command), probe=None)
