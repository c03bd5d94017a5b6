"""The loop, and trainings and deployments by hand, as Prefect flows: when and where they run, and what is
tried again.

The one module that imports Prefect; `launch` decides whether it is needed at all.
"""

from datetime import datetime
from typing import Any

from prefect import flow, task
from prefect.events import emit_event

from bike_demand.core.errors import UnreachableError
from bike_demand.core.settings import load_settings
from bike_demand.loop import cycle as loop
from bike_demand.release import deploy as delivery
from bike_demand.store.tables import Raised
from bike_demand.training import steps

# Events, by which prefect.yaml starts what follows.
REGISTERED = "bike-demand.version.registered"
RESOURCE = "bike-demand.version"
SIGNAL = "bike-demand.signal"


def _is_unreachable(_task: Any, _run: Any, state: Any) -> bool:
    """The outside world can fail and be back; what is wrong with data or code stays wrong."""
    return isinstance(state.result(raise_on_failure=False), UnreachableError)


def _run_cycle(as_of: datetime | None) -> None:
    def send(raised: Raised) -> None:
        """Send it to the server, whose automation starts `act`; once for each signal in its cool-down."""
        payload = {
            "signal": str(raised.id),
            "as_of": "" if as_of is None else as_of.isoformat(),
            "says": raised.says,
        }
        resource = f"{SIGNAL}.{raised.kind}.{raised.subject}".replace(" ", "-")
        emit_event(f"{SIGNAL}.{raised.kind}", resource={"prefect.resource.id": resource}, payload=payload)

    loop.run_cycle(load_settings(), as_of, print, send)


def _act(signal: int, as_of: datetime | None) -> None:
    loop.act(load_settings(), signal, as_of, print)


def _deploy(version: str, as_of: datetime | None) -> None:
    delivery.deploy(load_settings(), version, as_of, print)


gather = task(name="ingest", retry_condition_fn=_is_unreachable)(steps.gather)
# One task: the graph of these stages is DVC's.
build = task(name="validate, train, evaluate")(steps.build)
log_and_register = task(name="register")(steps.log_and_register)
pass_gates = task(name="gates", retry_condition_fn=_is_unreachable, log_prints=True)(_deploy)
run_cycle = task(name="cycle", retry_condition_fn=_is_unreachable, log_prints=True)(_run_cycle)
respond = task(name="response", retry_condition_fn=_is_unreachable, log_prints=True)(_act)


def _patient(step: Any) -> Any:
    """The task with the waits of the settings before another try."""
    waits = load_settings().flow.retry_seconds
    return step.with_options(retries=len(waits), retry_delay_seconds=list(waits))


@flow(name="train")
def train(as_of: datetime | None = None, allow_uncommitted: bool = False) -> steps.Made:
    """Gather, validate, train, evaluate, register; and say that there is a new version."""
    made, new = steps.run(as_of, allow_uncommitted, _patient(gather), build, log_and_register)
    if new:
        payload = {"version": str(made.version), "as_of": "" if as_of is None else as_of.isoformat()}
        emit_event(REGISTERED, resource={"prefect.resource.id": RESOURCE}, payload=payload)
    return made, new


@flow(name="deploy")
def deploy(version: str, as_of: str = "") -> None:
    """Take a version through the gates to its A/B test; tried again, it goes on where it was."""
    _patient(pass_gates)(version, datetime.fromisoformat(as_of) if as_of else None)


@flow(name="monitor")
def monitor(as_of: datetime | None = None) -> None:
    """Run a monitoring cycle; each signal is sent as an event."""
    _patient(run_cycle)(as_of)


@flow(name="act")
def act(signal: str, as_of: str = "") -> None:
    """Respond to a signal, by its id; tried again, it goes on where it was."""
    _patient(respond)(int(signal), datetime.fromisoformat(as_of) if as_of else None)
