"""Rolls back to the last good version: by hand, by the watch of a promotion, or by the loop."""

from datetime import UTC, datetime

from bike_demand.core.errors import UserError
from bike_demand.core.settings import Settings
from bike_demand.data.table import iso
from bike_demand.release.decision import store, stored
from bike_demand.release.out_of_band import out_of_band_promotion
from bike_demand.release.transitions import (
    LIVE_SINCE_TAG,
    ROLLED_BACK,
    STATE_TAG,
    STOPPED,
    can_be_live,
    end_test,
    wait_for_rollout,
)
from bike_demand.store.tracking import (
    BLOCKED_TAG,
    CHALLENGER,
    CHAMPION,
    DEPLOYMENT_TAG,
    PREVIOUS,
    Tracking,
    Version,
)

ROLLBACK = "rollback"  # the kind of its record
GUARD = "the guard tripped"  # how the reason begins where the watch of a promotion rolled it back


def roll_back(settings: Settings, tracking: Tracking, reason: str, now: datetime) -> str:
    """Make the last good champion before this one the champion again; one line on it.

    A test under way ends, the version that is rolled back is blocked for later deployments, and all is on
    record. Raises UserError where there is no earlier version; then nothing was changed.
    """
    bad = tracking.champion()
    if bad is None:
        raise UserError("no version is live; make one live: python -m bike_demand deploy VERSION")
    good = last_good(tracking)
    if good is None:
        advice = "deploy another one instead"
        if (challenger := tracking.aliases().get(CHALLENGER)) is not None:
            advice = f"to end the test of version {challenger}: python -m bike_demand ab stop --reason TEXT"
        raise UserError(
            "there is no earlier version to go back to: none was live, or it was rolled back or deleted; "
            + advice
        )
    record = tracking.open_record(
        ROLLBACK,
        f"version {bad.number} back to {good.number}",
        {
            "version": str(good.number),
            "rolled_back": str(bad.number),
            "rolled_back.deployment": bad.tags.get(DEPLOYMENT_TAG, ""),
            "deployment_before": good.tags.get(DEPLOYMENT_TAG, ""),
            "reason": reason,
            "at": iso(now),
            STATE_TAG: "begun",
        },
    )
    tracking.tag(bad.number, {BLOCKED_TAG: reason})
    end_test(tracking, STOPPED, f"version {bad.number}, against which it was tested, was rolled back")
    tracking.tag(good.number, {DEPLOYMENT_TAG: record, LIVE_SINCE_TAG: iso(now)})
    moved_at = datetime.now(UTC).isoformat()
    tracking.back_to(good.number)
    tracking.remove_alias(PREVIOUS)
    if before := bad.tags.get(DEPLOYMENT_TAG):
        tracking.write_record(before, tags={STATE_TAG: ROLLED_BACK, "rolled_back.reason": reason})
        if decision := stored(tracking, before):
            outcome = f"{decision.outcome} Rolled back on {now:%Y-%m-%d}: {reason}."
            changed = decision.model_copy(update={"state": ROLLED_BACK, "outcome": outcome})
            store(tracking, before, changed, page=True)
    tracking.write_record(record, tags={STATE_TAG: "done", "moved_at": moved_at})
    tracking.close_record(record, True)
    rollout = wait_for_rollout(settings, tracking)
    return f"Version {good.number} is live again, instead of version {bad.number} ({reason}). {rollout}"


def last_good(tracking: Tracking) -> Version | None:
    """The latest of the champions before this one, or of all where none is live, that can be live again.

    Not one that was rolled back or deleted, or whose model is gone. None: there is none.
    """
    out_of_band = tracking.champion() is None or out_of_band_promotion(tracking)
    earlier = tracking.remembered() if out_of_band else tracking.champions()[:-1]
    live = tracking.aliases().get(CHAMPION)
    versions = (tracking.version(number) for number in reversed(earlier) if number != live)
    return next((each for each in versions if can_be_live(tracking, each)), None)
