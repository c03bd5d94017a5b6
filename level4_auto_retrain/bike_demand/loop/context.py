"""The context of a monitoring cycle, and how its steps run. A separate module, to avoid import cycles."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from bike_demand.core.settings import Settings
from bike_demand.core.step_runner import StepRunner, call
from bike_demand.release import deploy as delivery
from bike_demand.store.database import Database
from bike_demand.store.deployments import Deployments, Emit
from bike_demand.store.tables import Signal
from bike_demand.store.tracking import Tracking
from bike_demand.training import steps


def _train(as_of: datetime | None) -> steps.Made:
    return steps.run(as_of, False)


def _deploy(context: "Context", version: int) -> None:
    delivery.deploy(context.settings, str(version), context.as_of, context.report)


@dataclass(frozen=True)
class CycleRunner:
    """How the steps of a cycle run: by plain calls, or by `flows` as tasks and flow runs.

    `emit_signal` receives the signals if something else responds to them; with None, the cycle responds.
    """

    run_step: StepRunner = call
    emit_signal: Callable[[Signal], None] | None = None
    train: Callable[[datetime | None], steps.Made] = _train
    deploy: Callable[["Context", int], None] = _deploy


IN_PROCESS = CycleRunner()


@dataclass(frozen=True)
class Context:
    """Settings and stores of a cycle. `report` receives lines for people.

    `as_of`: the option --as-of, None in production; `now`: the resulting feed time.
    """

    settings: Settings
    tracking: Tracking
    database: Database
    deployments: Deployments
    as_of: datetime | None
    now: datetime
    report: Emit
    runner: CycleRunner = IN_PROCESS
