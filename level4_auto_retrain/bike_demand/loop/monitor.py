"""The `monitor` command: evaluates the signals, and reports the state of production as text or JSON."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from bike_demand.clock import now as now_of
from bike_demand.core.current import PROBLEM, loss_with_unit
from bike_demand.core.settings import Settings
from bike_demand.monitoring import reports
from bike_demand.monitoring.signals import Evaluation, evaluate_signals
from bike_demand.serving.status import StatusDocument, read_status
from bike_demand.store.deployments import Emit, note, open_deployments
from bike_demand.store.event_log import INGESTION
from bike_demand.store.tables import SignalKind

# Signals of an evaluation; the event log has the others.
EVALUATED = (SignalKind.QUALITY, SignalKind.DRIFT, SignalKind.ERROR)
LAST_N = 14  # number of trainings and undelivered alerts in the text


def monitor(
    settings: Settings, as_of: datetime | None, *, as_json: bool, force_report: bool, emit: Emit
) -> None:
    """Evaluate the signals and report them; the loop responds to them.

    `force_report`: write the drift report even if none is due. Raises UserError if nothing was ingested yet,
    or a store is down.
    """
    started = time.time()
    with open_deployments(settings, as_of, note, locked=False, reading=True) as deployments:
        tracking, database = deployments.tracking, deployments.database
        now = now_of(settings, as_of)
        evaluation = evaluate_signals(settings, tracking, database, as_of, now, force_report)
        status = StatusDocument(environment="production", **read_status(database, "production", 0))
    status.as_of = now
    others = [each for each in status.signals if each.kind not in EVALUATED or each.subject == INGESTION]
    status.signals = evaluation.signals + others
    if as_json:
        emit(status.model_dump_json(indent=1))
        return
    for line in _lines(evaluation, status, now):
        emit(line)
    if force_report:
        page, missing = reports.DRIFT_PAGE, "none: no champion with training data, or too few rows"
        is_new = page.exists() and page.stat().st_mtime >= started
        emit(f"Drift report: {page.as_posix() if is_new else missing}")


def _lines(evaluation: Evaluation, status: StatusDocument, now: datetime) -> Iterator[str]:
    champion = "none" if evaluation.champion is None else f"version {evaluation.champion.number}"
    yield f"Feed time {now:%Y-%m-%d %H:%M}. Live: {champion}."
    week = [day for day in evaluation.days if day.day >= now.date() - timedelta(days=7)]
    rows, known = sum(day.rows for day in week), sum(day.known for day in week)
    if known:
        error, bias = sum(day.error_sum for day in week) / known, sum(day.bias_sum for day in week) / known
        baseline = sum(day.baseline_error_sum for day in week)
        saved = 1 - sum(day.paired_error_sum for day in week) / baseline if baseline else None
        word = "below" if saved is None or saved >= 0 else "above"
        comparison = "" if saved is None else f", {abs(saved):.0%} {word} the baseline"
        yield (
            f"In the last 7 days {rows} rows were predicted; {known} of them have an outcome: mean error"
            f" {loss_with_unit(error)} (bias {bias:+.{PROBLEM.loss.decimals}f}){comparison}."
        )
    else:
        yield f"In the last 7 days {rows} rows were predicted; none has an outcome yet."
    yield "Signals:" if status.signals else "Signals: none."
    for signal in status.signals:
        yield f"  {signal.kind}, {signal.subject}: {signal.message}"
    ongoing = [each for each in status.incidents if each.ended_at is None]
    yield f"Incidents: {len(ongoing)} open, {len(status.incidents) - len(ongoing)} resolved."
    for incident in ongoing:
        yield f"  {incident.kind}, {incident.subject}, since {incident.since:%Y-%m-%d}"
    yield f"Trainings: {len(status.trainings)}" + (":" if status.trainings else ".")
    for each in status.trainings[-LAST_N:]:
        made = "" if each.version is None else f", version {each.version}"
        yield f"  {each.at:%Y-%m-%d}{made}, {each.detail.get('result', each.state)}: {each.reason}"
    yield f"Rolled back: {sum(each.rolled_back is not None for each in status.releases)}."
    yield from undelivered_lines(status.undelivered)


def undelivered_lines(failures: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The alerts in `event_log.delivery_failures` as text."""
    if failures:
        yield f"Alerts not delivered: {len(failures)}, the newest:"
    for each in failures[:LAST_N]:
        yield f"  {each['at'][:10]}, {each['title']}, {each['channel']}: {each['reason']}"
