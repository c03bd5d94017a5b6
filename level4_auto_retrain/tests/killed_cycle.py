"""A monitoring cycle in a process that kills itself on the way: `python -m tests.killed_cycle POINT DAY`.

As in tests/test_loop.py, the error has increased, trainings register a model at once, and no gate runs.
"""

import os
import signal
import sys
from functools import partial
from types import ModuleType

from bike_demand.__main__ import main
from bike_demand.core.settings import load_settings
from bike_demand.loop import cycle, incidents, retraining
from bike_demand.monitoring import retraining_policy
from bike_demand.monitoring import signals as signals_module
from bike_demand.release import deploy as delivery
from bike_demand.release.ab import step as step_module
from bike_demand.store import event_log
from bike_demand.store.tracking import Tracking
from bike_demand.training import steps
from tests.test_loop import ERROR_SIGNAL, TrainingStub, register_stub

# Kills the process just before the n-th call of this function.
KILL_POINTS: dict[str, tuple[ModuleType | type, str, int]] = {
    "raise": (event_log, "update_signals", 1),
    "begin": (event_log, "begin_training", 1),
    "train": (steps, "run", 1),
    "registered": (event_log, "update_training", 1),
    "deploy": (delivery, "deploy", 1),
    "test": (Tracking, "set_alias", 1),
    "applied": (Tracking, "tag", 3),  # two are of the registration
    "deployed": (retraining, "_end", 1),
    "note": (incidents, "record_response", 1),
    "alert": (cycle, "raise_alert", 1),
    "live": (retraining, "update_results", 1),
    "publish": (cycle, "publish_status_fields", 1),
    "deliver": (cycle, "deliver", 1),
    "record delivery": (event_log, "record_attempt", 1),
}


def again(*_: object) -> tuple[TrainingStub, bool]:
    """A training that finds, as the real one does, what it registered before the kill."""
    newest = Tracking(load_settings()).versions()[-1]
    return (TrainingStub(newest), False) if newest.number > 1 else register_stub(None, False)


def die_at(point: str) -> None:
    module, name, wanted = KILL_POINTS[point]
    original, calls = getattr(module, name), [0]

    def counted(*args: object, **more: object) -> object:
        calls[0] += 1
        if calls[0] == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **more)

    setattr(module, name, counted)


def prepare() -> None:
    deploy = partial(delivery.deploy, gates=())
    setattr(delivery, "deploy", deploy)  # noqa: B010 (a module's function, on purpose)
    setattr(step_module, "deploy", deploy)  # noqa: B010
    setattr(steps, "run", again)  # noqa: B010
    setattr(retraining_policy, "error_signal", lambda *_: ERROR_SIGNAL)  # noqa: B010
    setattr(signals_module, "drift_signal", lambda *_: None)  # noqa: B010


if __name__ == "__main__":
    prepare()
    die_at(sys.argv[1])
    sys.exit(main(["agent", "--once", "--as-of", sys.argv[2]]))
