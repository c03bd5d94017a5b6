"""The training as a Prefect flow: when and where it runs, and what is tried again.

The one module that imports Prefect; `launch` decides whether it is needed at all.
"""

from datetime import datetime
from typing import Any

from prefect import flow, task
from prefect.events import emit_event

from bike_demand.core.errors import UnreachableError
from bike_demand.core.settings import load_settings
from bike_demand.training import steps

# An event that other programs can subscribe to, by a trigger of Prefect or `prefect event stream`.
REGISTERED = "bike-demand.version.registered"
RESOURCE = "bike-demand.version"


def _is_unreachable(_task: Any, _run: Any, state: Any) -> bool:
    """The outside world can fail and be back; what is wrong with data or code stays wrong."""
    return isinstance(state.result(raise_on_failure=False), UnreachableError)


gather = task(name="ingest", retry_condition_fn=_is_unreachable)(steps.gather)
# One task: the graph of these stages is DVC's.
build = task(name="validate, train, evaluate")(steps.build)
log_and_register = task(name="register")(steps.log_and_register)


@flow(name="train")
def train(as_of: datetime | None = None, allow_uncommitted: bool = False) -> steps.Made:
    """Gather, validate, train, evaluate, register; and emit an event where there is a new version."""
    waits = load_settings().flow.retry_seconds
    patient = gather.with_options(retries=len(waits), retry_delay_seconds=list(waits))
    made, new = steps.run(as_of, allow_uncommitted, patient, build, log_and_register)
    if new:
        payload = {"version": str(made.version), "as_of": "" if as_of is None else as_of.isoformat()}
        emit_event(REGISTERED, resource={"prefect.resource.id": RESOURCE}, payload=payload)
    return made, new
