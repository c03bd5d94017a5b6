"""Back to the last good version, by hand or by the guard that watches a promotion."""

from datetime import UTC, datetime

from bike_demand.data.table import iso
from bike_demand.errors import UserError
from bike_demand.release.converge import wait_until_taken
from bike_demand.release.decision import keep, kept
from bike_demand.release.moves import (
    LIVE_SINCE_TAG,
    STATE_TAG,
    STOPPED,
    TAKEN_BACK,
    end_test,
)
from bike_demand.settings import Settings
from bike_demand.tracking import BLOCKED_TAG, CHALLENGER, DEPLOYMENT_TAG, PREVIOUS, Tracking, Version

ROLLBACK = "rollback"  # the kind of its record
GUARD = "the guard tripped"  # how the reason begins where the watch of a promotion took it back


def take_back(settings: Settings, tracking: Tracking, reason: str, now: datetime) -> str:
    """Make the last good champion before this one the champion again; one line on it for the user.

    A test under way ends, the version that is taken back is blocked for later deployments, and all is on
    record. Raises UserError where there is no earlier version; then nothing was changed.
    """
    bad = tracking.champion()
    good = last_good(tracking)
    if bad is None or good is None:
        instead = "deploy another one instead"
        if (challenger := tracking.aliases().get(CHALLENGER)) is not None:
            instead = f"to end the test of version {challenger}: python -m bike_demand ab stop --reason TEXT"
        raise UserError(f"there is no earlier version to go back to; {instead}")
    record = tracking.open_record(
        ROLLBACK,
        f"version {bad.number} back to {good.number}",
        {
            "version": str(good.number),
            "taken_back": str(bad.number),
            "taken_back.deployment": bad.tags.get(DEPLOYMENT_TAG, ""),
            "deployment_before": good.tags.get(DEPLOYMENT_TAG, ""),
            "reason": reason,
            "at": iso(now),
            STATE_TAG: "begun",
        },
    )
    tracking.tag(bad.number, {BLOCKED_TAG: reason})
    end_test(tracking, STOPPED, f"version {bad.number}, against which it was tested, was taken back")
    tracking.tag(good.number, {DEPLOYMENT_TAG: record, LIVE_SINCE_TAG: iso(now)})
    moved_at = datetime.now(UTC).isoformat()
    tracking.back_to(good.number)
    tracking.remove_alias(PREVIOUS)
    if before := bad.tags.get(DEPLOYMENT_TAG):
        tracking.write_record(before, tags={STATE_TAG: TAKEN_BACK, "taken_back.reason": reason})
        if decision := kept(tracking, before):
            outcome = f"{decision.outcome} Taken back on {now:%Y-%m-%d}: {reason}."
            changed = decision.model_copy(update={"state": TAKEN_BACK, "outcome": outcome})
            keep(tracking, before, changed, page=True)
    tracking.write_record(record, tags={STATE_TAG: "done", "moved_at": moved_at})
    tracking.close_record(record, True)
    taken = wait_until_taken(settings, "production", tracking)
    return f"Version {good.number} is live again, instead of version {bad.number} ({reason}). {taken}"


def last_good(tracking: Tracking) -> Version | None:
    """The latest of the champions before this one that was not taken back itself; None: there is none."""
    champion = tracking.champion()
    if champion is None:
        return None
    for number in reversed(tracking.champions()[:-1]):
        version = tracking.version(number)
        if number != champion.number and BLOCKED_TAG not in version.tags:
            return version
    return None
