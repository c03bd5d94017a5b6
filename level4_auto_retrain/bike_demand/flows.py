"""Prefect flows for the loop, and for trainings and deployments by hand: schedules and retries.

The only module that imports Prefect; `launch` decides whether it is needed.
"""

import json
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Completed

from bike_demand.core.current import PROBLEM
from bike_demand.core.errors import UnreachableError
from bike_demand.core.settings import RUN, load_settings
from bike_demand.loop import cycle as loop
from bike_demand.loop.context import Context, CycleRunner
from bike_demand.release import deploy as delivery
from bike_demand.release.decision import page_of
from bike_demand.store import daily_stats, event_log
from bike_demand.store.connection import normalize_store_uri, require_reachable
from bike_demand.store.database import open_database
from bike_demand.store.deployments import all_deployments
from bike_demand.store.tables import Signal
from bike_demand.training import steps

T = TypeVar("T")
BUSY_SECONDS = 600.0  # how long a deployment waits for another one
# Events, which trigger the automations in prefect.yaml.
EVENT_REGISTERED = "bike-demand.version.registered"
EVENT_RESOURCE = "bike-demand.version"
EVENT_SIGNAL = "bike-demand.signal"
ARTIFACT_DAYS = timedelta(days=14)  # shown in the artifact of a monitoring run


def _is_unreachable(_task: Any, _run: Any, state: Any) -> bool:
    """Whether to retry: only external failures, as errors in data or code would repeat."""
    return isinstance(state.result(raise_on_failure=False), UnreachableError)


def _with_retries(step: Any) -> Any:
    """The task with the retry delays of the settings."""
    delays = load_settings().flow.retry_seconds
    return step.with_options(retries=len(delays), retry_delay_seconds=list(delays))


def _run_name() -> str:
    """The name of a flow run: its flow and its day."""
    return f"{flow_run.flow_name} {str(flow_run.parameters.get('as_of') or datetime.now(UTC))[:10]}"


def _build() -> None:
    steps.build()
    metrics = json.loads((RUN / "metrics.json").read_text(encoding="utf-8"))
    create_table_artifact(
        [{"metric": name, "value": round(value, 4)} for name, value in metrics.items()],
        key="metrics",
        description=f"The holdout model, evaluated on the held-out days. Errors are in {PROBLEM.loss.unit}.",
    )


# Tasks have the names shown on the flow's page. The stages are one task: DVC knows their dependencies.
ingest = task(name="ingest", task_run_name="ingest", retry_condition_fn=_is_unreachable)(steps.ingest)
validate = task(name="validate", task_run_name="validate")(steps.validate)
build = task(name="dvc repro", task_run_name="dvc repro")(_build)
log_and_register = task(name="register", task_run_name="register")(steps.log_and_register)


def run_as_task(name: str, step: Callable[[], T]) -> T:
    """The step runner of the flows: each step is a task. A version refused by a gate is a failed task."""

    @task(
        name=name,
        task_run_name=name,
        retry_condition_fn=_is_unreachable,
        cache_policy=NO_CACHE,
        log_prints=True,
    )
    def run() -> T:
        return step()

    result: T = _with_retries(run)()
    return result


def _check_stores() -> None:
    """Raises UnreachableError if a store is down, so that a flow fails early and not between two steps."""
    settings = load_settings()
    require_reachable(normalize_store_uri(settings.tracking.uri))
    open_database(settings.environments.production.database).close()


def _await_stores() -> None:
    """Wait for the stores of a cycle. If they stay down, the cycle itself fails, with an alert."""
    with suppress(UnreachableError):
        run_as_task("connect", _check_stores)


def _publish_deployment_artifact(version: str) -> None:
    """Store the gates of the version's newest deployment, and the decision, as an artifact of the run."""
    with closing(open_database(load_settings().environments.production.database)) as database:
        found = all_deployments(database)
    newest = [each for each in found if version in (delivery.LATEST, str(each.version))][-1:]
    for row in newest:
        lines = [
            f"# Version {row.version}: {row.state.value.replace('_', ' ')}",
            f"{row.reason[:1].upper()}{row.reason[1:]}. All evidence: `{page_of(row.version).as_posix()}`\n",
            "| gate | result | finding |",
            "|---|---|---|",
        ]
        for each in row.gates:
            result = {True: "passed", False: "**REFUSED**", None: "not reached"}[each["passed"]]
            lines.append(f"| {each['gate']} | {result} | {each.get('message', each['title'])} |")
        create_markdown_artifact("\n".join(lines), key="deployment", description="Gates and decision.")


def _publish_production_artifact() -> None:
    """Store the open signals and the errors of the last days as an artifact of the run."""
    with closing(open_database(load_settings().environments.production.database)) as database:
        signals, last = event_log.open_signals(database), daily_stats.last_day(database)
        days = []
        if last is not None:
            days = daily_stats.read_days(database, last - ARTIFACT_DAYS, last + timedelta(days=1))
    lines = ["# Signals", *(f"- **{each.kind}**, {each.subject}: {each.message}" for each in signals)]
    lines += [] if signals else ["None."]
    lines += [
        f"# Errors, in {PROBLEM.loss.unit}",
        "| day | requests | error | error of the baseline |",
        "|---|---|---|---|",
    ]
    for day in reversed(days):
        own, baseline = _mean(day.error_sum, day.known), _mean(day.baseline_error_sum, day.baseline_rows)
        lines.append(f"| {day.day} | {day.rows} | {own} | {baseline} |")
    create_markdown_artifact("\n".join(lines), key="production", description="Open signals and errors.")


def _mean(total: float, rows: int) -> str:
    return f"{total / rows:.{PROBLEM.loss.decimals}f}" if rows else ""


def _emit_signal(raised: Signal, as_of: datetime | None) -> None:
    """Emit a signal as an event to the server, where an automation starts `respond`."""
    payload = {
        "signal": str(raised.id),
        "description": f"{raised.kind}, {raised.subject}",
        "as_of": _format_time(as_of),
        "message": raised.message,
    }
    resource = f"{EVENT_SIGNAL}.{raised.kind}.{raised.subject}".replace(" ", "-")
    emit_event(f"{EVENT_SIGNAL}.{raised.kind}", resource={"prefect.resource.id": resource}, payload=payload)


def _format_time(as_of: datetime | None) -> str:
    """A time as the parameter of a flow started by an automation, which can only pass text."""
    return "" if as_of is None else as_of.isoformat()


def _parse_time(as_of: str) -> datetime | None:
    return datetime.fromisoformat(as_of) if as_of else None


def _is_to_deploy(version: int | None, deploy: bool | None, as_of: datetime | None) -> bool:
    """Whether to deploy the version of a training: if that is wanted and not decided yet."""
    settings = load_settings()
    wanted = settings.deploy.automatic if deploy is None else deploy
    return wanted and delivery.earlier_decision(settings, str(version), as_of, print) is None


@flow(name="train", flow_run_name=_run_name)
def train(as_of: datetime | None = None, allow_dirty: bool = False, deploy: bool | None = None) -> steps.Made:
    """Ingest, validate, train, evaluate, register, and emit an event for a version that is not deployed yet.

    `deploy`: whether to deploy it; by default as in params.yaml. A version trained within another flow is
    deployed by that flow, any other by an automation.
    """
    made, new = steps.run(as_of, allow_dirty, _with_retries(ingest), validate, build, log_and_register)
    if run_as_task("decide on a deployment", lambda: _is_to_deploy(made.version, deploy, as_of)):
        by = "automation" if flow_run.parent_flow_run_id is None else "parent-flow"
        resource = {"prefect.resource.id": EVENT_RESOURCE, "bike-demand.deployed-by": by}
        emit_event(
            EVENT_REGISTERED, resource, payload={"version": str(made.version), "as_of": _format_time(as_of)}
        )
    return made, new


@flow(name="deploy", flow_run_name="deploy version {version}", log_prints=True)
def deploy(version: str, as_of: str = "") -> None:
    """Take a version through the gates to its A/B test; a retry resumes where it was interrupted.

    `as_of` is text, because automations can only pass text.
    """
    run_as_task("connect", _check_stores)
    try:
        # A cycle does not wait for another deployment; it tries again in the next one.
        patience = 0.0 if flow_run.parent_flow_run_id else BUSY_SECONDS
        moment = _parse_time(as_of)
        delivery.deploy(load_settings(), version, moment, print, run=run_as_task, patience=patience)
    finally:
        _publish_deployment_artifact(version)


@flow(name="monitoring-cycle", flow_run_name=_run_name, log_prints=True)
def monitoring_cycle(as_of: datetime | None = None) -> State[None]:
    """Run a monitoring cycle: emit each open signal as an event, and advance tests and watches."""
    _await_stores()
    emitted = 0

    def emit(raised: Signal) -> None:
        nonlocal emitted
        emitted += 1
        run_as_task(f"emit signal: {raised.kind}", lambda: _emit_signal(raised, as_of))

    runner = CycleRunner(run_as_task, emit, train, _deploy_as_flow)
    loop.run_cycle(load_settings(), as_of, print, runner)
    _publish_production_artifact()
    # The message is shown with the flow run; runbook.yaml reads the number from it.
    return Completed(message=f"signals emitted: {emitted}")


@flow(name="respond", flow_run_name="respond to {description}", log_prints=True)
def respond(signal: str, as_of: str = "", description: str = "a signal") -> State[None]:
    """Respond to a signal, given its id; a retry resumes where it was interrupted."""
    _await_stores()
    runner = CycleRunner(run_as_task, None, train, _deploy_as_flow)
    done = loop.respond_to_signal(load_settings(), int(signal), _parse_time(as_of), print, runner)
    create_markdown_artifact(
        f"# {description}\n{done}", key="response", description="Response to the signal."
    )
    return Completed(message=done)


def _deploy_as_flow(context: Context, version: int) -> None:
    deploy(str(version), _format_time(context.as_of))
