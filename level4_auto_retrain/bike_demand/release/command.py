"""The commands of a person: `release`, past the A/B test but past no gate, and `rollback`."""

from datetime import datetime

import typer

from bike_demand.clock import now as now_of
from bike_demand.errors import UserError
from bike_demand.progress import spinner
from bike_demand.release import deploy
from bike_demand.release.rollback import take_back
from bike_demand.settings import Settings
from bike_demand.tracking import Tracking

BY_HAND = "by hand"


def release(
    settings: Settings,
    wanted: str | None,
    *,
    reason: str | None,
    check: bool,
    back: bool,
    as_of: datetime | None,
) -> None:
    """Do what the command line says. Raises UserError where that is not clear, or a gate refuses."""
    if back:
        if wanted is not None or check:
            raise UserError("--back undoes the last release and takes no version; see `rollback`")
        rollback(settings, reason, as_of)
        return
    if wanted is None:
        raise UserError("give a version to release, or --back to undo the last release")
    if check:
        with spinner("Trying the gates"):
            deploy.check(settings, wanted, as_of, typer.echo)
        return
    if reason is None or not reason.strip():
        raise UserError(
            "--reason: say why the A/B test is left out, which is kept on record; with the test: `deploy`"
        )
    with spinner("Trying the gates"):
        deploy.release(settings, wanted, reason.strip(), as_of, typer.echo)


def rollback(settings: Settings, reason: str | None, as_of: datetime | None) -> None:
    """Go back to the last good version. Raises UserError where there is none."""
    said = (reason or "").strip() or BY_HAND
    typer.echo(take_back(settings, Tracking(settings), said, now_of(settings, as_of)))
