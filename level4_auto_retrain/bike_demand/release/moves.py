"""The moves of a version between aliases: under test, waiting for one, live, and out again.

Each is told to the version first, by tags, and then done by one step of an alias, so that a service never
sees half of it, and a move that was cut off can be made again.
"""

import json
from datetime import datetime

from bike_demand.data.table import iso
from bike_demand.settings import Settings
from bike_demand.tracking import (
    AB_TAG,
    BLOCKED_TAG,
    CHALLENGER,
    CHAMPION,
    DEPLOYMENT_TAG,
    PREVIOUS,
    Tracking,
    Version,
)

# Tags of a version.
WAITING_TAG = "waiting"  # since when it waits for another's test to end
LIVE_SINCE_TAG = "live_since"  # when it became champion: the watch counts from there

# Tag of a record, and its values: what became of the deployment.
STATE_TAG = "state"
GATES, REFUSED, WAITING, TESTING, LIVE = "gates", "refused", "waiting", "testing", "live"
REJECTED, STOPPED, TAKEN_BACK = "rejected", "stopped", "taken back"
UNDER_WAY = (GATES, WAITING, TESTING)


def begin_test(settings: Settings, tracking: Tracking, version: Version, now: datetime) -> None:
    """Make the version the challenger, by the rules that `ab` in params.yaml has now."""
    ab = settings.ab
    test = {"mode": ab.mode, "share": ab.share, "salt": ab.salt, "began": iso(now)}
    _note(tracking, version, TESTING)
    tracking.set_alias(CHALLENGER, version.number, {AB_TAG: json.dumps(test)})
    tracking.untag(version.number, WAITING_TAG)


def wait_for_test(tracking: Tracking, version: Version, now: datetime) -> None:
    """Let the version wait: another one is under test."""
    _note(tracking, version, WAITING)
    tracking.tag(version.number, {WAITING_TAG: iso(now)})


def waiting(tracking: Tracking) -> list[Version]:
    """The versions that wait for a test, ascending; it is the newest that gets it."""
    return [each for each in tracking.versions() if WAITING_TAG in each.tags and BLOCKED_TAG not in each.tags]


def go_live(tracking: Tracking, version: Version, now: datetime) -> None:
    """Make the version the champion; the one before answers on unseen, so that the two can be compared."""
    champion = tracking.aliases().get(CHAMPION)
    if champion is not None and champion != version.number:
        tracking.set_alias(PREVIOUS, champion)
    tracking.promote(version.number, {LIVE_SINCE_TAG: iso(now)})
    if tracking.aliases().get(CHALLENGER) == version.number:
        tracking.remove_alias(CHALLENGER)
    tracking.untag(version.number, WAITING_TAG)
    _note(tracking, version, LIVE, done=True)


def end_test(tracking: Tracking, state: str, reason: str) -> Version | None:
    """Take the challenger out of its test: REJECTED or STOPPED. Who that was; None: there was no test."""
    aliases = tracking.aliases()
    number = aliases.get(CHALLENGER)
    if number is None:
        return None
    tracking.remove_alias(CHALLENGER)
    if number == aliases.get(CHAMPION):  # left over by a promotion that was cut off
        return None
    challenger = tracking.version(number)
    _note(tracking, challenger, state, reason, done=True)
    return challenger


def _note(
    tracking: Tracking, version: Version, state: str, reason: str | None = None, *, done: bool = False
) -> None:
    """Keep with the record of the version's deployment, where it has one, what became of it."""
    record = tracking.version(version.number).tags.get(DEPLOYMENT_TAG)
    if record is None:  # moved by other means
        return
    tracking.write_record(record, tags={STATE_TAG: state} | ({} if reason is None else {"reason": reason}))
    if done:
        tracking.close_record(record, state == LIVE)
