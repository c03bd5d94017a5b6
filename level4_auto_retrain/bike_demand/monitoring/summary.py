"""The `monitor` command: the state of production, as text or JSON."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from pydantic_core import to_jsonable_python

from bike_demand.clock import now as now_of
from bike_demand.core.current import PROBLEM, loss_with_unit
from bike_demand.core.settings import Settings
from bike_demand.monitoring import reports
from bike_demand.monitoring.signals import Evaluation, evaluate_signals
from bike_demand.store import event_log, history
from bike_demand.store.database import Database
from bike_demand.store.deployments import all_deployments, open_deployments
from bike_demand.store.event_log import Signal
from bike_demand.store.tables import Day, Kind, Raised, State

EVALUATED = (
    Kind.QUALITY,
    Kind.DRIFT,
    Kind.ERROR,
)  # signals found by an evaluation itself; the event log has the others
OUTCOME = "outcome"  # key in the detail of an action
LAST = 14  # number of days and trainings in the text


def monitor(
    settings: Settings, as_of: datetime | None, *, as_json: bool, page: bool, emit: Callable[[str], None]
) -> None:
    """Evaluate the signals and report them; the loop responds to them. `page`: write the drift report, too.

    Raises UserError if nothing was ingested yet, or a store is down.
    """
    with open_deployments(settings, as_of, note, locked=False, reading=True) as deployments:
        tracking, database = deployments.tracking, deployments.database
        evaluation = evaluate_signals(settings, tracking, database, as_of, now_of(settings, as_of), page)
        content = _content(database, evaluation)
    if as_json:
        emit(json.dumps(content, indent=1))
        return
    for line in _lines(evaluation, content):
        emit(line)
    if page:
        emit(
            f"Drift report: {reports.PAGE.as_posix()}"
            if reports.PAGE.exists()
            else "There is no drift report: too few rows to compare."
        )


def _content(database: Database, evaluation: Evaluation) -> dict[str, Any]:
    """The complete summary as JSON. Errors are means."""
    others = [each for each in event_log.open_signals(database) if each.kind not in EVALUATED]
    signals: list[Signal | Raised] = [*evaluation.signals, *others]
    everything = history.days(database, date.min, evaluation.now.date())
    return {
        "now": evaluation.now.isoformat(),
        "champion": None if evaluation.champion is None else evaluation.champion.number,
        "days": [_day(each) for each in everything],
        "signals": [
            {
                "kind": str(each.kind),
                "subject": each.subject,
                "message": each.message,
                "evidence": each.evidence,
            }
            for each in signals
        ],
        "incidents": to_jsonable_python(event_log.incidents(database)),
        "trainings": [
            {
                "at": each.at.isoformat(),
                "reason": each.reason,
                "version": each.version,
                "outcome": each.detail.get(OUTCOME, each.state),
            }
            for each in event_log.actions(database)
        ],
        "rollbacks": [
            {
                "at": each.changed_at.isoformat(),
                "version": each.version,
                "reason": each.reason,
                "to": each.against,
            }
            for each in all_deployments(database, State.ROLLED_BACK)
        ],
        "alerts": event_log.count_alerts(database),
        "alerts_not_delivered": event_log.delivery_failures(database),
    }


def _day(day: Day) -> dict[str, Any]:
    return {
        "day": day.day.isoformat(),
        "rows": day.rows,
        "known": day.known,
        "mae": _mean(day.error, day.known),
        "bias": _mean(day.bias, day.known),
        "target": _mean(day.target, day.known),
        "mae_baseline": _mean(day.baseline_error, day.baseline_rows),
        "skill": skill([day]),
        "quality": day.quality,
    }


def skill(days: Sequence[Day]) -> float | None:
    """The share of the baseline's error that the model saves; None if the baseline is unknown."""
    baseline = sum(day.baseline_error for day in days)
    return round(1 - sum(day.paired_error for day in days) / baseline, 4) if baseline else None


def _mean(total: float, rows: int) -> float | None:
    return round(total / rows, 3) if rows else None


def _saved(share: float) -> str:
    return f"{abs(share):.0%} {'less' if share >= 0 else 'more'}"


def _lines(evaluation: Evaluation, content: dict[str, Any]) -> Iterator[str]:
    champion = "none" if evaluation.champion is None else f"version {evaluation.champion.number}"
    yield f"It is {evaluation.now:%Y-%m-%d %H:%M} in the time of the feed. Live: {champion}."
    week = [day for day in evaluation.days if day.day >= evaluation.now.date() - timedelta(days=7)]
    rows, known = sum(day.rows for day in week), sum(day.known for day in week)
    if known:
        error, bias = sum(day.error for day in week) / known, sum(day.bias for day in week) / known
        saved = skill(week)
        compared = "" if saved is None else f", {_saved(saved)} than the baseline"
        yield (
            f"In the last 7 days {rows} rows were predicted, {known} of them have an outcome: off by"
            f" {loss_with_unit(error)} (bias {bias:+.{PROBLEM.loss.decimals}f}){compared}."
        )
    else:
        yield f"In the last 7 days {rows} rows were predicted, none of them has an outcome."
    signals = content["signals"]
    yield "Signals:" if signals else "Signals: none, all is as it should be."
    for each in signals:
        yield f"  {each['kind']}, {each['subject']}: {each['message']}"
    open_ = [each for each in content["incidents"] if each["ended_at"] is None]
    yield f"Incidents: {len(open_)} under way, {len(content['incidents']) - len(open_)} over."
    for each in open_:
        yield f"  {each['kind']}, {each['subject']}, since {each['since'][:10]}"
    yield f"Trainings: {len(content['trainings'])}" + (":" if content["trainings"] else ".")
    for each in content["trainings"][-LAST:]:
        made = "" if each["version"] is None else f", version {each['version']}"
        yield f"  {each['at'][:10]}{made}, {each['outcome']}: {each['reason']}"
    yield f"Rolled back: {len(content['rollbacks'])}. Alerts: {content['alerts']}."
    yield from undelivered_lines(content["alerts_not_delivered"])


def note(line: str) -> None:
    """Print a line that is not part of the result, which programs may parse."""
    print(line, file=sys.stderr)


def undelivered_lines(failures: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The alerts in `event_log.delivery_failures` as text."""
    if failures:
        yield f"Alerts not delivered: {len(failures)}, the newest:"
    for each in failures[:LAST]:
        then = "given up" if each["final"] else "to be tried again"
        yield f"  {each['at'][:10]}, {each['title']}, {each['channel']}: {each['reason']} ({then})"
