"""The incidents: lines for people, JSON for programs."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic_core import to_jsonable_python

from bike_demand.core.current import PROBLEM
from bike_demand.core.settings import Settings
from bike_demand.monitoring.summary import note, undelivered_lines
from bike_demand.store import event_log
from bike_demand.store.deployments import opened
from bike_demand.store.tables import Incident

Emit = Callable[[str], None]


def report(settings: Settings, *, as_json: bool, emit: Emit) -> None:
    """Emit them, newest first. Raises UserError where the database is away."""
    with opened(settings, None, note, reading=True) as deployments:
        found = event_log.incidents(deployments.database)[::-1]
        failures = event_log.delivery_failures(deployments.database)
    if as_json:
        emit(json.dumps(to_jsonable_python(found), indent=1))
        return
    for incident in found:
        for line in lines(incident):
            emit(line)
    if not found:
        emit("Nothing went wrong so far.")
    for line in undelivered_lines(failures):
        emit(line)


def lines(incident: Incident) -> list[str]:
    """An incident for a person at a terminal."""
    found = [
        f"{incident.id}. {incident.kind}, {incident.subject}: {_span(incident)}",
        f"   noticed {incident.noticed_at:%Y-%m-%d %H:%M}: {incident.noticed_by}",
        *(f"   {_day(each['at'])}: {each['what']}" for each in incident.done),
    ]
    if incident.cost is not None:
        found.append(f"   cost: {in_words(incident.cost)}")
    if (learned := _learned(incident)) is not None:
        found.append(f"   {learned}")
    return found


def in_words(cost: dict[str, Any]) -> str:
    """What it cost, in a line."""
    said = [f"{cost.get('rows', 0)} rows with a known outcome"]
    if cost.get("error") is not None:
        usual = f", normally {cost['normal_error']:g}" if cost.get("normal_error") is not None else ""
        said.append(f"off by {cost['error']:g} {PROBLEM.loss.unit}{usual}")
    if (above := cost.get("error_above_normal")) is not None:
        said.append(
            f"{above:,} {PROBLEM.unit} more than normal in all" if above > 0 else "no more than normal"
        )
    if cost.get("answers_by_bad_model"):
        said.append(f"{cost['answers_by_bad_model']} rows predicted by the bad model")
    return "; ".join(said)


def _span(incident: Incident) -> str:
    if incident.ended_at is None:
        return f"since {incident.since:%Y-%m-%d}, goes on"
    return f"{incident.since:%Y-%m-%d} to {incident.ended_at:%Y-%m-%d}"


def _learned(incident: Incident) -> str | None:
    return (
        None if incident.regression_case is None else "learned: the case is a check of every later validation"
    )


def _day(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d}"
