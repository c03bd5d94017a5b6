"""The `release` command: compares, asks for confirmation, and moves the alias."""

import typer

from bike_demand.core.errors import UserError
from bike_demand.core.settings import DATA, Settings
from bike_demand.data.ingested import read_labeled_rows
from bike_demand.progress import spinner
from bike_demand.release import gate
from bike_demand.store.tracking import Tracking, Version

LATEST = "latest"


def run(
    settings: Settings, wanted: str | None, *, back: bool, check: bool, yes: bool, override: str | None
) -> None:
    """Run the command. Raises UserError if a version is refused, or the release is not confirmed."""
    if (wanted, check, override) != (None, False, None) if back else wanted is None:
        raise UserError("give a version to release, or --back alone to undo the last release")
    if override is not None and not override.strip():
        raise UserError("--override: give the reason, which is kept with the version")
    tracking = Tracking(settings)
    note = f"Services poll the registry every {settings.serving.poll_seconds:g} s and switch to it."
    if back:
        replaced = tracking.champion()
        number = gate.roll_back(tracking).number
        before = replaced.number if replaced else "?"
        typer.echo(f"Version {number} is live again, instead of version {before}. {note}")
        return
    candidate = _find(tracking, wanted or LATEST)
    champion = tracking.champion()
    if champion is not None and champion.number == candidate.number:
        typer.echo(f"Version {candidate.number} is live already; nothing was changed.")
        return
    with spinner("Comparing and testing"):
        proposal = gate.propose(tracking, candidate, read_labeled_rows(DATA), settings.release)
    for line in gate.summary_lines(proposal):
        typer.echo(line)
    if check and not proposal.objections:
        typer.echo(f"Version {candidate.number} may be released; nothing was changed.")
        return
    if not check and (override is not None or not proposal.objections) and not yes:
        _confirm(candidate, proposal.objections)
    gate.release(tracking, proposal, None if check else override)
    typer.echo(f"Version {candidate.number} is live. {note}")


def _find(tracking: Tracking, wanted: str) -> Version:
    if wanted == LATEST:
        return gate.newest(tracking)
    if not wanted.isdecimal():
        raise UserError(f"{wanted!r}: not a version; give its number, or {LATEST}")
    return tracking.version(int(wanted))


def _confirm(candidate: Version, objections: tuple[str, ...]) -> None:
    for message in objections:
        typer.echo(f"Overridden: {message}.")
    try:
        agreed = typer.confirm(f"Release version {candidate.number}?")
    except typer.Abort:  # no terminal, or Ctrl-C
        raise UserError("not confirmed, so nothing was changed; give --yes in a script") from None
    if not agreed:
        raise UserError("not confirmed, so nothing was changed")
