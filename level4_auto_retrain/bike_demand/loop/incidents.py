"""Incidents: start, detection, response, cost, and the regression case derived from them.

An incident lasts as long as its signal. Bad data become a regression case, which is checked before every
later training (`data.regression_cases`).
"""

import json
import statistics
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from pydantic_core import to_jsonable_python

from bike_demand.core.current import PROBLEM, target_of
from bike_demand.core.errors import UserError
from bike_demand.core.settings import Settings
from bike_demand.data.frames import to_frame
from bike_demand.data.quality import FEED
from bike_demand.data.regression_cases import make_case
from bike_demand.loop.alerts import alert
from bike_demand.loop.context import Context
from bike_demand.monitoring import summary
from bike_demand.monitoring.signals import SourcedViolation
from bike_demand.release.rescored import predictions
from bike_demand.release.rollback import GUARD
from bike_demand.store import event_log, history
from bike_demand.store.deployments import history as history_of
from bike_demand.store.deployments import open_deployments
from bike_demand.store.gathered import gathered_rows
from bike_demand.store.queries import ShownPrediction, shown
from bike_demand.store.tables import Incident, Kind, Raised, State

KINDS = (Kind.QUALITY, Kind.ERROR, Kind.RELEASE, Kind.LOOP)
NORMAL_DAYS = 60  # days before an incident that define the normal error
LEAST_ROWS = 12  # with known outcomes, to state the error of a rolled-back version
BEFORE_DAYS = 21  # days before bad data that are available to their regression case


def follow(context: Context, signals: Sequence[Raised], found: Sequence[SourcedViolation]) -> None:
    """Open an incident for each signal that warrants one, and end those whose signal is over.

    `found` are all data violations, including those that are over.
    """
    for signal in signals:
        if signal.kind in KINDS:
            event_log.open_incident(
                context.database,
                signal.kind,
                signal.subject,
                since=_moment(signal.evidence.get("since"), signal.first_at),
                noticed_at=signal.first_at,
                noticed_by=signal.message,
            )
    going_on = {(each.kind, each.subject) for each in signals}
    for incident in event_log.incidents(context.database, only_open=True):
        if (incident.kind, incident.subject) not in going_on:
            _end(context, incident, found)


def note(context: Context, signal: Raised, what: str) -> None:
    """Record a response to a signal in its incident."""
    for incident in event_log.incidents(context.database, only_open=True):
        if (incident.kind, incident.subject) == (signal.kind, signal.subject):
            event_log.note_done(context.database, incident.id, context.now, what)


def of_people(context: Context) -> None:
    """Record rollbacks made outside the loop as incidents."""
    known = event_log.incidents(context.database)
    for row in context.deployments.all(State.ROLLED_BACK):
        subject, changes = f"version {row.version}", history_of(context.database, row.id)
        since = next(each.at for each in reversed(changes) if each.new is State.LIVE is not each.old)
        mine = (each for each in known if (each.kind, each.subject) == (Kind.RELEASE, subject))
        if any(each.ended_at is None or each.ended_at >= since for each in mine):
            continue
        watched = row.reason.startswith(GUARD)  # by the watch of its promotion, in `ab step`
        who = "the watch of its promotion" if watched else "a person"
        incident = event_log.open_incident(
            context.database,
            Kind.RELEASE,
            subject,
            since=min(since, context.now),
            noticed_at=context.now,
            noticed_by=f"{'its watch' if watched else 'a person'}: {row.reason}",
        )
        event_log.note_done(context.database, incident.id, context.now, f"Rolled back by {who}.")
        _end(context, incident, [])  # if interrupted before, it ends like any other


def _end(context: Context, incident: Incident, found: Sequence[SourcedViolation]) -> None:
    """End an incident. The regression case is written first, so that an interrupted end is repeated."""
    cost = _cost(context, incident)
    learned = ""
    if incident.kind is Kind.RELEASE:
        cost |= _release_cost(context, incident)
    elif incident.kind is Kind.QUALITY and _keep_case(context, incident, found):
        learned = " Its rows are a check of every later training from now on."
    event_log.end_incident(context.database, incident.id, context.now, cost)
    days = max(1, (context.now - incident.since).days)
    # Of responses that begin alike each day, like reasons not to train, keep the latest: it is complete.
    done = {each["what"].partition(". ")[0]: each["what"] for each in incident.done}
    alert(
        context.settings,
        context.database,
        f"over:{incident.id}",
        context.now,
        f"Over: {incident.kind}, {incident.subject}",
        happened=(
            f"What was detected on {incident.noticed_at:%Y-%m-%d} is over, after"
            f" {'a day' if days == 1 else f'{days} days'}: {incident.noticed_by}"
        ),
        evidence=cost,
        done=(" ".join(done.values()) or "Nothing had to be done.") + learned,
        you_may="Nothing has to be done. `python -m bike_demand incidents` has the whole record.",
    )


def _cost(context: Context, incident: Incident) -> dict[str, Any]:
    """Errors of all predictions during the incident, and the excess of their sum over normal rows.

    Normal is the median of the daily error as a share of the target, so that neither the season nor a recent
    incident distorts it.
    """
    first = incident.since.date()
    during = history.days(context.database, first, context.now.date())
    before = history.days(context.database, first - timedelta(days=NORMAL_DAYS), first)
    rows, total = sum(day.known for day in during), sum(day.error for day in during)
    cost: dict[str, Any] = {
        "rows": rows,
        "error": round(total / rows, PROBLEM.loss.decimals) if rows else None,
    }
    shares = [day.error / day.target for day in before if day.target]
    if rows and shares:
        normal = statistics.median(shares) * sum(day.target for day in during)
        cost |= {"normal_error": round(normal / rows, PROBLEM.loss.decimals)}
        cost |= {"error_above_normal": round(total - normal)}
    return cost


def _release_cost(context: Context, incident: Incident) -> dict[str, Any]:
    """The cost of a rolled-back version's predictions, compared with those of the previous version."""
    number = int(incident.subject.removeprefix("version "))
    back = [each for each in context.deployments.all(State.ROLLED_BACK) if each.version == number]
    good = back[-1].against if back else None
    rows = shown(context.database, number, incident.since, context.now)
    cost: dict[str, Any] = {"answers_by_bad_model": len(rows) if back else 0}
    known = [row for row in rows if row.label is not None]
    if good is None or len(known) < LEAST_ROWS:
        return cost
    try:
        other = _error(known, predictions(context.tracking, context.tracking.version(good), known))
    except UserError:  # the model was deleted
        return cost
    bad = _error(known, [row.prediction for row in known])
    return cost | {
        "error_of_bad_model": round(bad, PROBLEM.loss.decimals),
        "error_of_good_model": round(other, PROBLEM.loss.decimals),
        "error_above_normal": round((bad - other) * len(known)),
    }


def _keep_case(context: Context, incident: Incident, found: Sequence[SourcedViolation]) -> bool:
    """Keep the bad rows as a regression case for later trainings. Returns whether there were any."""
    violations = [
        each
        for each in found
        if each.violation.subject == incident.subject and each.violation.times[-1] >= incident.since
    ]
    # The feed is what models are trained on, so it takes precedence.
    for each in sorted(violations, key=lambda each: each.source != FEED):
        since = each.violation.times[0] - timedelta(days=BEFORE_DAYS)
        if each.source == FEED:
            rows = gathered_rows(since, context.now)
        else:
            answers = history.answers(context.database, since, context.now)
            rows = to_frame([one.asked for one in history.first_answers(answers)])
        known = history.labels(context.database, since, context.now)
        case = make_case(incident.id, each.violation, rows, known, context.settings.quality)
        if case is not None:
            event_log.add_regression_case(context.database, incident.id, case.model_dump(mode="json"))
            return True
    return False


def _error(rows: Sequence[ShownPrediction], answers: Sequence[float]) -> float:
    right = [target_of(row.label or 0) for row in rows]
    return float(PROBLEM.loss.per_row(np.array(answers), np.array(right)).mean())


def _moment(given: object, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(given) if isinstance(given, str) else otherwise


Emit = Callable[[str], None]


def report(settings: Settings, *, as_json: bool, emit: Emit) -> None:
    """Emit the incidents, newest first. Raises UserError if the database is down."""
    with open_deployments(settings, None, summary.note, locked=False, reading=True) as deployments:
        found = event_log.incidents(deployments.database)[::-1]
        failures = event_log.delivery_failures(deployments.database)
    if as_json:
        emit(json.dumps(to_jsonable_python(found), indent=1))
        return
    for incident in found:
        for line in lines(incident):
            emit(line)
    if not found:
        emit("No incidents so far.")
    for line in summary.undelivered_lines(failures):
        emit(line)


def lines(incident: Incident) -> list[str]:
    """An incident as lines of text."""
    found = [
        f"{incident.id}. {incident.kind}, {incident.subject}: {_span(incident)}",
        f"   noticed {incident.noticed_at:%Y-%m-%d %H:%M}: {incident.noticed_by}",
        *(f"   {each['at'][:10]}: {each['what']}" for each in incident.done),
    ]
    if incident.cost is not None:
        found.append(f"   cost: {in_words(incident.cost)}")
    if incident.regression_case is not None:
        found.append("   learned: the case is a check of every later validation")
    return found


def in_words(cost: dict[str, Any]) -> str:
    """The cost of an incident, in one line."""
    message = [f"{cost.get('rows', 0)} rows with a known outcome"]
    if cost.get("error") is not None:
        usual = f", normally {cost['normal_error']:g}" if cost.get("normal_error") is not None else ""
        message.append(f"off by {cost['error']:g} {PROBLEM.loss.unit}{usual}")
    if (above := cost.get("error_above_normal")) is not None:
        message.append(
            f"{above:,} {PROBLEM.unit} more than normal in all" if above > 0 else "no more than normal"
        )
    if cost.get("answers_by_bad_model"):
        message.append(f"{cost['answers_by_bad_model']} rows predicted by the bad model")
    return "; ".join(message)


def _span(incident: Incident) -> str:
    if incident.ended_at is None:
        return f"since {incident.since:%Y-%m-%d}, goes on"
    return f"{incident.since:%Y-%m-%d} to {incident.ended_at:%Y-%m-%d}"
