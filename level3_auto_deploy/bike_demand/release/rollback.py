"""Rolls back to the last good version."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bike_demand.core.errors import UnreachableError, UserError
from bike_demand.release.decision import write_pages
from bike_demand.serving.onnx_model import load_model
from bike_demand.store.deployments import Deployments
from bike_demand.store.tables import Deployment, State
from bike_demand.store.tracking import CHAMPION, HANDOFF_ARTIFACT

WATCH_ROLLBACK = "found worse by its watch"  # prefix of the reason if the watch of a promotion rolled it back


def roll_back_champion(deployments: Deployments, reason: str) -> str:
    """Roll back the live version for a person. Returns one line about it.

    If opening the deployments completed an interrupted rollback, nothing more is changed: it may have been
    this one. Raises UserError if no version is live, and like `roll_back`.
    """
    bad = deployments.live()
    if bad is None:
        raise UserError("no version is live; make one live: python -m bike_demand deploy VERSION")
    if any(CHAMPION in each.aliases and each.old is State.RETIRED for each in deployments.completed):
        return f"Version {bad.version} is live now. {deployments.rollout()} To roll it back too, repeat this."
    try:
        return roll_back(deployments, bad, reason)
    except UnreachableError as error:
        if not any(each.id == bad.id for each in deployments.all(State.ROLLED_BACK)):
            raise
        follow = "the aliases follow with the next command, for example `ab status`; do not repeat this one"
        done = f"version {bad.version} is rolled back in the database"
        raise UnreachableError(f"{done}; {follow} ({error})") from None


def roll_back(deployments: Deployments, bad: Deployment, reason: str, **details: Any) -> str:
    """Make the last good champion before this one the champion again. Returns one line about it.

    A running test ends, and the rolled-back version cannot be deployed again. Does nothing if it is no longer
    live. Raises UserError if there is no earlier version or it cannot be loaded, and then changes nothing.
    """
    deployments.reconcile()
    live = deployments.live()
    if live is not None and live.id == bad.id:
        good = deployments.last_good()
        if good is None:
            raise UserError(
                "no earlier champion can be restored: there was none, or all were rolled back or deleted;"
                " deploy another one, or end a running test: python -m bike_demand ab stop --reason TEXT"
            )
        require_loadable(deployments, good)
        deployments.restore(good, bad, reason, **details)
    bad = next(each for each in deployments.all() if each.id == bad.id)
    write_pages(deployments)
    if bad.state is not State.ROLLED_BACK:
        return f"Version {bad.version} is no longer live: {bad.reason}."
    instead = f"instead of version {bad.version} ({bad.reason})"
    return f"Version {bad.against} is live again, {instead}. {deployments.rollout()}"


def require_loadable(deployments: Deployments, good: Deployment) -> None:
    """Raises UserError if an earlier champion's model does not load: services would not switch to it."""
    try:
        with TemporaryDirectory() as scratch:
            load_model(deployments.tracking.fetch(good.run_id, HANDOFF_ARTIFACT, Path(scratch)))
    except UserError as error:
        problem = f"version {good.version}, the last good one, cannot be loaded, so nothing was changed"
        raise UserError(f"{problem}; deploy another one instead ({error})") from None
