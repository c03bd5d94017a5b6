"""Rolls back to the last good version."""

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bike_demand.core.errors import UserError
from bike_demand.release.decision import write_page
from bike_demand.serving.onnx_model import load_model
from bike_demand.store.deployments import Deployments
from bike_demand.store.tables import Deployment
from bike_demand.store.tracking import HANDOFF_ARTIFACT

WATCH_ROLLBACK = "found worse by its watch"  # prefix of the reason if the watch of a promotion rolled it back


def roll_back(deployments: Deployments, reason: str, at: datetime | None = None, **evidence: Any) -> str:
    """Make the last good champion before this one the champion again. Returns one line about it.

    A running test ends, and the rolled-back version cannot be deployed again. Raises UserError if there is no
    earlier version or it cannot be loaded, and then changes nothing.
    """
    bad, good, testing = deployments.live(), deployments.last_good(), deployments.testing()
    if bad is None:
        raise UserError("no version is live; make one live: python -m bike_demand deploy VERSION")
    if good is None:
        advice = "deploy another one instead"
        if testing is not None:
            stop = "python -m bike_demand ab stop --reason TEXT"
            advice = f"to end the test of version {testing.version}: {stop}"
        problem = "no earlier champion can be restored: there was none, or all were rolled back or deleted"
        raise UserError(f"{problem}; {advice}")
    require_loadable(deployments, good)
    deployments.restore(good, reason, at, **evidence)
    write_page(deployments.database, next(each for each in deployments.all() if each.id == bad.id))
    rollout = deployments.rollout()
    return f"Version {good.version} is live again, instead of version {bad.version} ({reason}). {rollout}"


def require_loadable(deployments: Deployments, good: Deployment) -> None:
    """Raises UserError if an earlier champion's model does not load: services would not switch to it."""
    try:
        with TemporaryDirectory() as scratch:
            load_model(deployments.tracking.fetch(good.run_id, HANDOFF_ARTIFACT, Path(scratch)))
    except UserError as error:
        problem = f"version {good.version}, the last good one, cannot be loaded, so nothing was changed"
        raise UserError(f"{problem}; deploy another one instead ({error})") from None
