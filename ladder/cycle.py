"""`ladder run`: one level's life cycle step by step, in a working copy."""

import json
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from ladder import runbook, users, workcopy
from ladder.levels import Level, level
from ladder.output import print_line
from ladder.service import Service
from ladder.session import FOR_MACHINES, Session, describe, release_first_champion, set_up, show
from ladder.steps import enter, environment, run_in_process, run_step

MAX_DAYS = 21  # the A/B test and the watch have ended by then
MAX_LINES = 6  # shown of a day


def run(number: int, console: Console) -> None:
    """Run the level's runbook once, then request predictions; print who did what and how long it took.

    Raises UserError if a step fails.
    """
    with workcopy.exclusive("run") as place:
        _run(level(number), place, console)


def _run(chosen: Level, place: Path, console: Console) -> None:
    session = set_up(chosen, place, None, console)
    book, folder = session.book, session.folder
    steps = (*book.daily, *book.release)
    table = Table(title="One release", title_justify="left", title_style="bold")
    for column in ("who", "step", "command or file move"):
        table.add_column(column, overflow="fold")
    table.add_column("machine", justify="right")
    today = session.today
    with Service(folder, folder / "state" / "service.log", env=environment()) as service:
        if book.outcomes_path:
            release_first_champion(session, service, console)
        for step in steps:
            seconds = show(step, folder, service if chosen.number else None, console)
            table.add_row(step.who, step.id, describe(step), f"{seconds:.1f} s" if describe(step) else "")
        if chosen.number and not service.is_running():
            service.start()
        if book.outcomes_path:
            today = _days_that_follow(session, service, console)
        _use(chosen, session, service, console, today)
    console.print(table)
    by_hand = sum(step.by_hand for step in steps)
    given = sum(step.gives_to is not None for step in steps)
    console.print(f"{by_hand} of {len(steps)} steps need a person; hand-overs between roles: {given}.")
    people = runbook.load_people().levels[chosen.number]
    days = sum(duration.days for duration in people.days.values())
    console.print(
        f"Assumed human time: {days} days (data/people.yaml). Working copy: {workcopy.display_path(folder)}"
    )


def _days_that_follow(session: Session, service: Service, console: Console) -> date:
    """Simulate up to 21 days of traffic: requests, outcomes and the daily steps.

    Returns the day on which the live version changed, or the last one.
    """
    enter(session.folder)
    console.print("\nThe days that follow: a request for each hour, then the outcomes of the day.")
    with service.client() as client:
        before = client.get("/model").json()["version"]
        today = session.today
        for _ in range(MAX_DAYS):
            users.predict_over_http(session.requests(today), client)
            users.post_outcomes(session.known(today), client, session.book.outcomes_path or "")
            today += timedelta(days=1)
            session.publish(today)
            output = ""
            for step in session.book.daily:
                output += run_step(step, session.folder, run_in_process, service)
            shown = [
                line for line in output.splitlines() if line.strip() and not line.startswith(FOR_MACHINES)
            ]
            for number, line in enumerate(shown[-MAX_LINES:] or [""]):
                day_shown = f"{today}" if number == 0 else " " * 10
                print_line(console, f"  {day_shown}  {line}", "dim")
            if client.get("/model").json()["version"] != before:
                break
    return today


def _use(chosen: Level, session: Session, service: Service, console: Console, today: date) -> None:
    """Request the next week's predictions in the level's own way."""
    book, folder = session.book, session.folder
    rows, known = session.requests(today, 7), session.known(today, 7)["count"].to_numpy()
    if chosen.number == 0:

        def score() -> None:
            for step in book.predict:
                show(step, folder, None, console)

        predictions = users.predict_from_file(rows, folder, score)
    else:
        console.print("\n[bold cyan]user[/bold cyan]  Requests predictions for the next week, hour by hour.")
        console.print(f"  [green]$ POST {service.url}/predict[/green]")
        body = users.as_bodies(rows)[8]
        with service.client() as client:
            shown = client.post("/predict", json=body).text
            predictions = users.predict_over_http(rows, client)
        print_line(console, f"  {json.dumps(body)}\n  {shown}", "dim")
    error = (pd.Series(predictions, dtype=float).fillna(0) - known).abs().mean()
    console.print(f"\nMean error over the next week: {error:.1f} bikes an hour.\n")
