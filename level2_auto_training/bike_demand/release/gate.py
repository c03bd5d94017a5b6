"""May a version go live? What speaks against it, and the one step that makes it live."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bike_demand.data.schema import Hour
from bike_demand.data.target import ERROR_NAME, ERROR_UNIT, rounded
from bike_demand.errors import UserError
from bike_demand.release.checks import CHECKS, failures
from bike_demand.release.compare import Comparison, compare
from bike_demand.settings import Release
from bike_demand.tracking import HANDOFF_ARTIFACT, Tracking, Version

# Tags of a version that was released.
MAE_TAG = "release.mae"
CHAMPION_MAE_TAG = "release.champion_mae"
ROWS_TAG = "release.rows"
INSTEAD_TAG = "release.instead_of"
OVERRIDE_TAG = "release.override"


@dataclass(frozen=True)
class Proposal:
    """A candidate beside the champion. `objections` speak against a release, one sentence each."""

    candidate: Version
    champion: Version | None
    comparison: Comparison | None  # None where a twin could not be read
    objections: tuple[str, ...]


def newest(tracking: Tracking) -> Version:
    """The version that was registered last. Raises UserError where there is none."""
    versions = tracking.versions()
    if not versions:
        raise UserError("no version is registered yet; run `python -m bike_demand train` first")
    return versions[-1]


def propose(tracking: Tracking, candidate: Version, hours: Sequence[Hour], settings: Release) -> Proposal:
    """Judge a candidate: its integration test, and its twin beside the champion's on fresh rows."""
    champion = tracking.champion()
    objections = [f"its integration test fails: {said}" for said in _tested(tracking, candidate)[:1]]
    comparison = None
    try:
        comparison = compare(tracking, candidate, champion, hours)
    except UserError as error:
        objections.append(f"it cannot be compared: {error}")
    else:
        objections += _compared(comparison, settings)
    return Proposal(candidate, champion, comparison, tuple(objections))


def release(tracking: Tracking, proposal: Proposal, override: str | None) -> None:
    """Make the candidate the champion, with what was known of it as tags.

    Raises UserError where something speaks against it and there is no reason to override that, or where
    somebody else released a version since the two were compared.
    """
    number = proposal.candidate.number
    if proposal.objections and override is None:
        raise UserError(
            f"version {number} is refused: {'; '.join(proposal.objections)}; train a better one, or give"
            " --override REASON"
        )
    live, compared = tracking.champion(), proposal.champion
    if (live.number if live else None) != (compared.number if compared else None):
        raise UserError(f"version {live.number if live else 'none'} went live in the meantime; look again")
    tags = {INSTEAD_TAG: str(compared.number) if compared else "none"}
    if (comparison := proposal.comparison) is not None:
        tags |= {ROWS_TAG: str(comparison.rows), MAE_TAG: f"{comparison.candidate:.2f}"}
        if comparison.champion is not None:
            tags[CHAMPION_MAE_TAG] = f"{comparison.champion:.2f}"
    if proposal.objections and override is not None:
        tags[OVERRIDE_TAG] = f"{override} (against: {'; '.join(proposal.objections)})"[:5000]
    tracking.promote(number, tags)


def described(proposal: Proposal) -> list[str]:
    """The two side by side, as lines for a person."""
    candidate, champion, comparison = proposal.candidate, proposal.champion, proposal.comparison
    lines = []
    if comparison is None or not comparison.rows:
        lines.append(f"Version {candidate.number}: there is nothing to compare it on.")
    else:
        lines.append(
            f"On {comparison.rows} hours that neither twin was trained on, {comparison.first} to"
            f" {comparison.last}, {ERROR_NAME} in {ERROR_UNIT}:"
        )
        lines.append(f"  version {candidate.number:<5} candidate  {rounded(comparison.candidate):>7}")
        if champion is not None and comparison.champion is not None:
            change = comparison.candidate / comparison.champion - 1 if comparison.champion else 0.0
            lines.append(f"  version {champion.number:<5} live       {rounded(comparison.champion):>7}")
            lines.append(f"The candidate's error is {abs(change):.0%} {'higher' if change > 0 else 'lower'}.")
        else:
            lines.append("Nothing is live yet.")
    failed = any(said.startswith("its integration test") for said in proposal.objections)
    lines.append(
        f"Integration test in the application, {len(CHECKS)} checks: {'failed' if failed else 'passed'}."
    )
    return lines


def _tested(tracking: Tracking, candidate: Version) -> list[str]:
    with TemporaryDirectory() as scratch:
        try:
            folder = tracking.fetch(candidate.run_id, HANDOFF_ARTIFACT, Path(scratch))
        except UserError as error:
            return [str(error)]
        return failures(folder)


def _compared(comparison: Comparison, settings: Release) -> list[str]:
    if comparison.rows < settings.min_rows:
        return [
            f"there are {comparison.rows} fresh hours to compare on, too few (release.min_rows in params.yaml"
            f" is {settings.min_rows}), so run ingest"
        ]
    mae, limit = comparison.candidate, comparison.champion
    if not math.isfinite(mae):
        return ["it has no answer for some of the fresh hours"]
    if limit is not None and mae > limit * (1 + settings.tolerance):
        return [f"it is worse than what is live ({rounded(mae)} against {rounded(limit)} {ERROR_UNIT})"]
    return []
