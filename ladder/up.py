"""`ladder up`: runs a level's services on loopback until Ctrl-C; with a story, days pass in seconds."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from time import monotonic, sleep

from rich.console import Console
from rich.markup import escape

from ladder import UserError, runbook, users, workcopy
from ladder.flows import FlowServer
from ladder.levels import level
from ladder.news import News
from ladder.service import Service, free_port, is_port_free
from ladder.session import Session, release_first_champion, set_up, show
from ladder.steps import environment, resolve_command

LINKS = "BIKE_DASHBOARD__LINKS"  # the addresses that the application's dashboard links to
CALM_DAYS = 3  # of a story, before something happens
# The model serves requests for a week before the story, so that the first day has a drift report to show.
# Their outcomes are not posted: the loop would respond to the New Year.
BEFORE_STORY = timedelta(days=7)


def up(
    number: int,
    port: int | None,
    console: Console,
    *,
    empty: bool = False,
    scenario: str | None = None,
    seconds: float | None = None,
) -> None:
    """Release a model (unless `empty`), start the level's services, print the addresses, stop them on Ctrl-C.

    `seconds`: also play a story, that of `scenario` or the level's own, at this pace per day. Raises
    UserError if there is nothing to start or to play, a step fails, or the application ends by itself.
    """
    chosen = level(number)
    if chosen.number == 0:
        raise UserError("level 0 has no services; see `ladder run 0`")
    if port is not None and not is_port_free(port):
        raise UserError(f"port {port} is in use; choose another with --port")
    if seconds is not None and runbook.load(chosen.folder).flows is None:
        raise UserError("--story needs a level with an automatic loop: use level 4")
    with workcopy.exclusive("up") as place, ExitStack() as stack:
        session = set_up(chosen, place, scenario, console)
        if seconds is not None:
            session = replace(session, today=session.today - timedelta(days=CALM_DAYS))
            session.publish(session.today)
        book, folder = session.book, session.folder
        pages = [(page, server_of(page, folder)) for page in book.pages]
        links = {LINKS: json.dumps({page.name: server.url + page.path for page, server in pages})}
        service = stack.enter_context(
            Service(folder, folder / "state" / "service.log", port, environment() | links)
        )
        if not empty:
            _release(session, service, console, earlier_only=seconds is not None)
        names = ", ".join(page.name for page in book.pages)
        with (
            console.status(f"starting {names} (about 30 s)" if names else ""),
            ThreadPoolExecutor() as many,
        ):
            list(many.map(Service.start, [stack.enter_context(server) for _, server in pages]))
        # Last: it would open the database that MLflow's server is making.
        if not service.is_running():
            service.start()
        background = [
            stack.enter_context(_background(step, folder)) for step in book.background if seconds is None
        ]
        for each in background:
            each.start()
        flows = None
        if seconds is not None and book.flows is not None:
            (server,) = (server for page, server in pages if page.name == book.flows.page)
            flows = stack.enter_context(FlowServer(book.flows, server, folder))
            with console.status(f"deploying the flows to {book.flows.page}"):
                flows.start()
        _addresses(session, service, pages, background, console)
        if seconds is not None and flows is not None:
            _play(session, service, flows, seconds, console)
        status = service.wait()
    raise UserError(f"the application ended with status {status}: see {workcopy.display_path(service.log)}")


def _release(session: Session, service: Service, console: Console, *, earlier_only: bool) -> None:
    if earlier_only:
        release_first_champion(session, service, console, BEFORE_STORY)
        with service.client() as client:
            for number in range(BEFORE_STORY.days, 0, -1):
                users.predict_over_http(session.requests(session.today - timedelta(days=number)), client)
        return
    if session.book.outcomes_path:
        release_first_champion(session, service, console)
    for step in (*session.book.daily, *session.book.release):
        show(step, session.folder, service, console)


def _addresses(
    session: Session,
    service: Service,
    pages: Sequence[tuple[runbook.Page, Service]],
    background: Sequence[Service],
    console: Console,
) -> None:
    console.print(f"\n[bold]application[/bold]  {service.url}/docs")
    with service.client() as client:
        ready, model = client.get("/ready").json(), client.get("/model").json()
        has_dashboard = client.get("/dashboard").is_success
    console.print(
        f"  model      {model['version'] if 'version' in model else ready['detail']}", soft_wrap=True
    )
    console.print(f"  log        {workcopy.display_path(service.log)}", soft_wrap=True)
    if has_dashboard:
        console.print(f"[bold]dashboard[/bold]  {service.url}/dashboard")
    for page, server in pages:
        console.print(f"[bold]{page.name}[/bold]  {server.url}{page.path}", soft_wrap=True)
    for each in background:
        console.print(f"[bold]{each.log.stem}[/bold]  {workcopy.display_path(each.log)}")
    console.print(
        f"Project: {workcopy.display_path(session.folder)}. Ctrl-C stops everything.", soft_wrap=True
    )


def _play(session: Session, service: Service, flows: FlowServer, seconds: float, console: Console) -> None:
    """Play the days: run the due flows, send a request for each hour, then the outcomes. Print what the level
    did, as shown by its dashboard.
    """
    console.print(f"\nOne story day takes {seconds:g} s plus its flow runs. Watch the dashboard.\n")
    today = session.today
    with service.client() as client:
        news = News(client.get("/status").json())
        while today <= session.story.end and service.is_running():
            session.publish(today)
            ran = _run_flows(flows, today, console)
            head = f"[bold]{today}[/bold]"
            for line in (*map(escape, news.lines(client.get("/status").json())), *ran):
                console.print(f"{head:10}  {line}", soft_wrap=True)
                head = ""
            day, requests = session.known(today), session.requests(today)
            error = 0.0
            for number in range(len(day)):
                began = monotonic()
                (prediction,) = users.predict_over_http(requests.iloc[[number]], client)
                error += abs((prediction or 0.0) - float(day["count"].iloc[number]))
                sleep(max(0.0, seconds / max(1, len(day)) - (monotonic() - began)))
            users.post_outcomes(day, client, session.book.outcomes_path or "")
            live = client.get("/model").json()
            other = f", challenger {live['other']['version']}" if live["other"] else ""
            console.print(
                f"{head:10}  [bold]mean error {error / max(1, len(day)):5.1f} bikes an hour[/bold];"
                f" champion {live['version']}{other}"
            )
            today += timedelta(days=1)
    console.print("Story finished; the services keep running until Ctrl-C.")


def _run_flows(flows: FlowServer, today: date, console: Console) -> list[str]:
    """Run the flows of a day. Returns a line on how long they took, and one for each failure."""
    with console.status(f"{today}  running its flows"):
        runs = [*flows.run(today)]
    took = ", ".join(f"{run.name.removesuffix(f' {today}')} {run.seconds:.0f} s" for run in runs)
    failures = [f"[red]{escape(failure)}[/red]" for run in runs for failure in run.failures]
    return [f"[dim]flow runs  {took}[/dim]", *failures]


def server_of(page: runbook.Page, folder: Path) -> Service:
    """The server of a page, not started yet."""
    port, log = free_port(), folder / "state" / f"{page.name.lower()}.log"
    here = runbook.fill_env(page.env, folder, port)
    return Service(folder, log, port, environment() | here, resolve_command(page.command), page.probe)


def _background(step: runbook.Step, folder: Path) -> Service:
    """The background service next to the application."""
    log, command = folder / "state" / f"{step.id}.log", resolve_command(step.command or "")
    return Service(folder, log, env=environment(), command=command, probe=None)
