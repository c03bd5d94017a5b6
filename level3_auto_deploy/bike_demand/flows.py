"""Prefect flows for training, deployment and the daily step of A/B tests: schedules and retries.

The only module that imports Prefect; `launch` decides whether it is needed.
"""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, TypeVar

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import flow_run

from bike_demand.core.current import PROBLEM
from bike_demand.core.errors import UnreachableError
from bike_demand.core.settings import RUN, load_settings
from bike_demand.release import deploy as delivery
from bike_demand.release.ab.step import ingest_feed, step
from bike_demand.release.decision import page_of
from bike_demand.store.connection import normalize_store_uri, require_reachable
from bike_demand.store.database import open_database
from bike_demand.store.deployments import all_deployments
from bike_demand.training import steps

T = TypeVar("T")
BUSY_SECONDS = 600.0  # how long a flow waits for another deployment
# Events, which trigger the automations in prefect.yaml.
REGISTERED = "bike-demand.version.registered"
RESOURCE = "bike-demand.version"


def _is_unreachable(_task: Any, _run: Any, state: Any) -> bool:
    """Retry only external failures; errors in data or code would repeat."""
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
        description=f"The holdout model, evaluated on the holdout. Errors are in {PROBLEM.loss.unit}.",
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


def _check_connections() -> None:
    """Raises UnreachableError if a store is down, so that a flow fails early and not between two steps."""
    settings = load_settings()
    require_reachable(normalize_store_uri(settings.tracking.uri))
    open_database(settings.environments.production.database).close()


def _show_deployment(version: str = delivery.LATEST) -> None:
    """Store the gates of a version's newest deployment, and the decision, as an artifact of the run."""
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


def _is_to_deploy(version: int | None, deploy: bool | None, as_of: datetime | None) -> bool:
    """Whether to deploy the version of a training: if that is wanted and not decided yet."""
    settings = load_settings()
    wanted = settings.deploy.automatic if deploy is None else deploy
    return wanted and delivery.earlier_decision(settings, str(version), as_of, print) is None


@flow(name="train", flow_run_name=_run_name)
def train(as_of: datetime | None = None, allow_dirty: bool = False, deploy: bool | None = None) -> steps.Made:
    """Ingest, validate, train, evaluate, register, and emit an event for a version that is not deployed yet.

    `deploy`: whether to deploy it; by default as in params.yaml.
    """
    made, new = steps.run(as_of, allow_dirty, _with_retries(ingest), validate, build, log_and_register)
    if run_as_task("decide on a deployment", lambda: _is_to_deploy(made.version, deploy, as_of)):
        payload = {"version": str(made.version), "as_of": "" if as_of is None else as_of.isoformat()}
        emit_event(REGISTERED, resource={"prefect.resource.id": RESOURCE}, payload=payload)
    return made, new


@flow(name="deploy", flow_run_name="deploy version {version}", log_prints=True)
def deploy(version: str, as_of: str = "") -> None:
    """Take a version through the gates to its A/B test; a retry resumes where it was interrupted."""
    run_as_task("connect", _check_connections)
    moment = datetime.fromisoformat(as_of) if as_of else None
    try:
        delivery.deploy(load_settings(), version, moment, print, run=run_as_task, patience=BUSY_SECONDS)
    finally:
        _show_deployment(version)


@flow(name="ab-step", flow_run_name=_run_name, log_prints=True)
def ab_step(as_of: datetime | None = None) -> None:
    """Evaluate the A/B test, decide if possible, and evaluate the watch of a promotion."""
    run_as_task("connect", _check_connections)
    settings = load_settings()
    ingest_feed(settings, as_of, print, run_as_task, BUSY_SECONDS)
    step(settings, as_of, print, run_as_task, BUSY_SECONDS)
    _show_deployment()
