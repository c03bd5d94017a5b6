"""Incidents: start, detection, response, cost, and the regression case derived from them.

An incident lasts as long as its signal. Bad data become a regression case, which is checked before every
later training (`data.regression_cases`).
"""

import json
import statistics
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import to_jsonable_python

from bike_demand.core.current import PROBLEM
from bike_demand.core.errors import UserError
from bike_demand.core.settings import Settings
from bike_demand.data.frames import to_frame
from bike_demand.data.quality import FEED
from bike_demand.data.regression_cases import RegressionCaseContent, count_undetected, make_case
from bike_demand.loop.alerts import raise_alert
from bike_demand.loop.context import Context
from bike_demand.loop.monitor import undelivered_lines
from bike_demand.monitoring.signals import SourcedViolation
from bike_demand.release.rollback import WATCH_ROLLBACK
from bike_demand.store import daily_stats, event_log
from bike_demand.store.deployments import Emit, history, note, open_deployments
from bike_demand.store.ingested_rows import rows_between
from bike_demand.store.tables import Deployment, Incident, Signal, SignalKind, State

INCIDENT_KINDS = (SignalKind.QUALITY, SignalKind.ERROR, SignalKind.BAD_RELEASE, SignalKind.LOOP)
NORMAL_DAYS = 60  # days before an incident that define the normal error
BEFORE_DAYS = 35  # days before bad data that are available to their regression case


def update_incidents(context: Context, signals: Sequence[Signal], found: Sequence[SourcedViolation]) -> None:
    """Open an incident for each signal that warrants one, and end those whose signal is over.

    `found` are all data violations, including those that are over.
    """
    for signal in signals:
        if signal.kind in INCIDENT_KINDS:
            event_log.open_incident(
                context.database,
                signal.kind,
                signal.subject,
                since=datetime.fromisoformat(signal.evidence.get("since") or signal.first_at.isoformat()),
                detected_at=signal.first_at,
                description=signal.message,
            )
    ongoing = {(each.kind, each.subject) for each in signals}
    for incident in event_log.incidents(context.database, only_open=True):
        # Kept while the data are bad: they may be corrected.
        is_quality = incident.kind is SignalKind.QUALITY
        case = _store_regression_case(context, incident, found) if is_quality else None
        if (incident.kind, incident.subject) not in ongoing:
            if case is not None and count_undetected(case, context.settings.quality):
                # A person ended the incident by loosening the rule: the data were right.
                event_log.withdraw_regression_case(context.database, incident.id)
                case = None
            _close(context, incident, case is not None)


def record_response(context: Context, signal: Signal, response: str) -> None:
    """Record a response to a signal in its incident."""
    for incident in event_log.incidents(context.database, only_open=True):
        if (incident.kind, incident.subject) == (signal.kind, signal.subject):
            event_log.record_response(context.database, incident.id, context.now, response)


def record_other_rollbacks(context: Context) -> None:
    """Record rollbacks that no signal caused: by a person, or by the watch of a promotion in `ab step`."""
    known = event_log.incidents(context.database)
    for row in context.deployments.all(State.ROLLED_BACK):
        subject, since = f"version {row.version}", _live_since(context, row)
        version_incidents = (
            each for each in known if (each.kind, each.subject) == (SignalKind.BAD_RELEASE, subject)
        )
        if any(each.ended_at is None or each.ended_at >= since for each in version_incidents):
            continue
        watched = row.reason.startswith(WATCH_ROLLBACK)  # the reason that `ab step` gives
        by = f"Rolled back by {'the post-promotion watch' if watched else 'a person'}"
        incident = event_log.open_incident(
            context.database,
            SignalKind.BAD_RELEASE,
            subject,
            since=min(since, context.now),
            detected_at=context.now,
            description=f"{by}: {row.reason}",
        )
        event_log.record_response(context.database, incident.id, context.now, f"{by}.")
        _close(context, incident)  # an interruption here leaves it open; `update_incidents` closes it


def _close(context: Context, incident: Incident, has_case: bool = False) -> None:
    """End an incident. The alert is raised first, so that an interrupted end is repeated."""
    cost = _cost(context, incident)
    done = " ".join(each["response"] for each in incident.responses)
    learned = " Its rows were kept as a regression case, checked before every later training."
    ended_at = context.now
    if incident.kind is SignalKind.BAD_RELEASE and (row := _rolled_back(context, incident)) is not None:
        # Outcomes may arrive, and decide a promotion, before the feed has their rows.
        ended_at = max(ended_at, _live_since(context, row))
        cost |= _release_cost(context, incident, row)
        if row.reason not in done and "Rolled back" not in done:  # interrupted before it was recorded
            done = f"{done} Rolled back: {row.reason}.".lstrip()
    days = max(1, (context.now - incident.since).days)
    raise_alert(
        context.settings,
        context.database,
        f"resolved:{incident.id}",
        context.now,
        f"Resolved: {incident.kind}, {incident.subject}",
        summary=(
            f"Resolved after {'a day' if days == 1 else f'{days} days'}"
            f" (detected {incident.detected_at:%Y-%m-%d}): {incident.description}"
        ),
        evidence=cost,
        response=(done or "No action was needed.") + (learned if has_case else ""),
        suggestion="No action needed. `python -m bike_demand incidents` has the whole record.",
    )
    event_log.end_incident(context.database, incident.id, ended_at, cost)


def _live_since(context: Context, row: Deployment) -> datetime:
    """When a deployment went live, the last time."""
    changes = history(context.database, row.id)
    return next(each.at for each in reversed(changes) if each.new is State.LIVE is not each.old)


def _cost(context: Context, incident: Incident) -> dict[str, Any]:
    """Errors during the incident: `rows` with a known label, mean `error` and `normal_error` in the
    loss's unit, and `excess_error`, the sum over rows beyond the normal error.

    Normal is the median of the daily error as a share of the target, so that neither the season nor a recent
    incident distorts it.
    """
    first = incident.since.date()
    during = daily_stats.read_days(context.database, first, context.now.date())
    before = daily_stats.read_days(context.database, first - timedelta(days=NORMAL_DAYS), first)
    rows, total = sum(day.known for day in during), sum(day.error_sum for day in during)
    cost: dict[str, Any] = {
        "rows": rows,
        "error": round(total / rows, PROBLEM.loss.decimals) if rows else None,
    }
    shares = [day.error_sum / day.target_sum for day in before if day.target_sum]
    if rows and shares:
        normal = statistics.median(shares) * sum(day.target_sum for day in during)
        cost |= {"normal_error": round(normal / rows, PROBLEM.loss.decimals)}
        cost |= {"excess_error": round(total - normal)}
    return cost


def _rolled_back(context: Context, incident: Incident) -> Deployment | None:
    """The rollback of the version of a bad release; None if there was none."""
    rows = context.deployments.all(State.ROLLED_BACK)
    return next((each for each in rows[::-1] if f"version {each.version}" == incident.subject), None)


def _release_cost(context: Context, incident: Incident, rolled_back: Deployment) -> dict[str, Any]:
    """The errors of a rolled-back version and of the previous one, which predicts in shadow mode then."""
    cost: dict[str, Any] = {}
    for name, version in (("rolled_back", rolled_back.version), ("previous", rolled_back.against)):
        days = daily_stats.read_days(context.database, incident.since.date(), context.now.date(), version)
        cost[f"predictions_by_{name}"] = sum(day.rows for day in days)
        if known := sum(day.known for day in days):
            cost[f"error_{name}"] = round(sum(day.error_sum for day in days) / known, PROBLEM.loss.decimals)
    return cost


def _store_regression_case(
    context: Context, incident: Incident, found: Sequence[SourcedViolation]
) -> RegressionCaseContent | None:
    """Keep the first bad rows as a regression case for later trainings. Returns it; None if there is none."""
    # The feed is what models are trained on, so it takes precedence.
    for each in sorted(found, key=lambda each: each.source != FEED):
        violation = each.violation.since(incident.since)
        if violation.subject != incident.subject or not violation.rows:
            continue
        since = incident.since - timedelta(days=BEFORE_DAYS)
        if each.source == FEED:
            rows = rows_between(since, context.now)
        else:
            logged = daily_stats.logged_predictions(context.database, since, context.now)
            rows = to_frame([one.inputs for one in daily_stats.first_predictions(logged)])
        known = daily_stats.labels(context.database, since, context.now)
        new = make_case(incident.id, violation, rows, known, context.settings.quality)
        if new is not None:
            event_log.add_regression_case(context.database, incident.id, new.model_dump(mode="json"))
            return new
    cases = event_log.regression_cases(context.database)
    kept = next((each.content for each in cases if each.incident == incident.id), None)
    return None if kept is None else RegressionCaseContent.model_validate(kept)


def withdraw_case(settings: Settings, incident: int) -> None:
    """Delete the regression case of an incident that was a false alarm.

    Raises UserError if there is none, or the incident is still open: the next cycle would make it again.
    """
    with open_deployments(settings, None, note, locked=False, reading=True) as deployments:
        open_incidents = event_log.incidents(deployments.database, only_open=True)
        if any(each.id == incident and each.regression_case for each in open_incidents):
            raise UserError(
                f"--withdraw {incident}: this incident is still open; widen its rule under `quality` in"
                " params.yaml, then the next cycle (`agent --once`) ends it and withdraws the case"
            )
        if not event_log.withdraw_regression_case(deployments.database, incident):
            raise UserError(f"--withdraw {incident}: this incident has no regression case; see `incidents`")


def print_incidents(settings: Settings, *, as_json: bool, emit: Emit) -> None:
    """Emit the incidents, newest first. Raises UserError if the database is down."""
    with open_deployments(settings, None, note, locked=False, reading=True) as deployments:
        found = event_log.incidents(deployments.database)[::-1]
        failures = event_log.delivery_failures(deployments.database)
    if as_json:
        emit(json.dumps(to_jsonable_python(found), indent=1))
        return
    for incident in found:
        for line in describe_incident(incident):
            emit(line)
    if not found:
        emit("No incidents so far.")
    for line in undelivered_lines(failures):
        emit(line)


def describe_incident(incident: Incident) -> Iterator[str]:
    """An incident as lines of text."""
    until = "ongoing" if incident.ended_at is None else f"until {incident.ended_at:%Y-%m-%d}"
    yield f"{incident.id}. {incident.kind}, {incident.subject}: since {incident.since:%Y-%m-%d}, {until}"
    yield f"   detected {incident.detected_at:%Y-%m-%d %H:%M}: {incident.description}"
    for each in incident.responses:
        yield f"   {each['at'][:10]}: {each['response']}"
    cost = [f"{name.replace('_', ' ')} {value:,}" for name, value in (incident.cost or {}).items() if value]
    if cost:
        yield f"   cost (errors in {PROBLEM.loss.unit}): {', '.join(cost)}"
    if incident.regression_case is not None:
        yield "   regression case kept: later trainings start only while the quality rules detect these rows"
