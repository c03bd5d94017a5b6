"""The context of a monitoring cycle, and how it is executed: a separate module, as all others import it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from bike_demand.core.settings import Settings
from bike_demand.core.step_runner import StepRunner, call
from bike_demand.release import deploy as delivery
from bike_demand.store.database import Database
from bike_demand.store.deployments import Deployments
from bike_demand.store.tables import Raised
from bike_demand.store.tracking import Tracking
from bike_demand.training import steps

Report = Callable[[str], None]


def _train(as_of: datetime | None) -> steps.Made:
    return steps.run(as_of, False)


def _deploy(context: "Context", version: int) -> None:
    delivery.deploy(context.settings, str(version), context.as_of, context.report)


@dataclass(frozen=True)
class Execution:
    """How the parts of a cycle are executed: by plain calls, or by `flows` as tasks and flow runs.

    `send` receives the signals if something else responds to them; with None, the cycle responds.
    """

    run: StepRunner = call
    send: Callable[[Raised], None] | None = None
    train: Callable[[datetime | None], steps.Made] = _train
    deploy: Callable[["Context", int], None] = _deploy


HERE = Execution()


@dataclass(frozen=True)
class Context:
    """Settings, stores, and `now` in story time. `report` receives lines for people."""

    settings: Settings
    tracking: Tracking
    database: Database
    deployments: Deployments
    as_of: datetime | None
    now: datetime
    report: Report
    execution: Execution = HERE
