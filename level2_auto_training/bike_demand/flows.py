"""The training as a Prefect flow: schedule and retries.

The only module that imports Prefect; `launch` decides whether it is needed.
"""

import json
from datetime import UTC, datetime
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.events import emit_event
from prefect.runtime import flow_run

from bike_demand.core.current import PROBLEM
from bike_demand.core.errors import UnreachableError
from bike_demand.core.settings import RUN, load_settings
from bike_demand.training import steps

# An event that other programs can subscribe to, with a Prefect trigger or `prefect event stream`.
REGISTERED = "bike-demand.version.registered"
RESOURCE = "bike-demand.version"


def _is_unreachable(_task: Any, _run: Any, state: Any) -> bool:
    """Retry only external failures; errors in data or code would repeat."""
    return isinstance(state.result(raise_on_failure=False), UnreachableError)


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


@flow(name="train", flow_run_name=_run_name)
def train(as_of: datetime | None = None, allow_dirty: bool = False) -> steps.Made:
    """Ingest, validate, train, evaluate, register, and emit an event for a new version."""
    delays = load_settings().flow.retry_seconds
    retrying = ingest.with_options(retries=len(delays), retry_delay_seconds=list(delays))
    made, new = steps.run(as_of, allow_dirty, retrying, validate, build, log_and_register)
    if new:
        payload = {"version": str(made.version), "as_of": "" if as_of is None else as_of.isoformat()}
        emit_event(REGISTERED, resource={"prefect.resource.id": RESOURCE}, payload=payload)
    return made, new
