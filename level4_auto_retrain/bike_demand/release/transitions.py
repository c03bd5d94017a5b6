"""Transitions of a version between aliases (under test, queued, live, and out again), and their rollout.

Each transition writes its tags first and then moves one alias, so that a service never sees half of it, and a
transition that was interrupted can be repeated.
"""

import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from bike_demand.core.errors import UserError
from bike_demand.core.settings import Settings
from bike_demand.data.table import iso
from bike_demand.store.database import database_exists, open_database
from bike_demand.store.queries import workers
from bike_demand.store.tracking import (
    AB_TAG,
    BLOCKED_TAG,
    CHALLENGER,
    CHAMPION,
    DEPLOYMENT_TAG,
    HANDOFF_ARTIFACT,
    PREVIOUS,
    ABTest,
    Tracking,
    Version,
)

# Tags of a version.
WAITING_TAG = "waiting"  # since when it waits for another's test to end
LIVE_SINCE_TAG = "live_since"  # when it became champion: the watch counts from there

# Tag of a deployment's record, and its values.
STATE_TAG = "state"
GATES, REFUSED, WAITING, TESTING, LIVE = "gates", "refused", "waiting", "testing", "live"
REJECTED, STOPPED, ROLLED_BACK = "rejected", "stopped", "rolled back"
UNDER_WAY = (GATES, WAITING, TESTING)

ROLLOUT_SECONDS = 10.0
POLL_SECONDS = 0.1


def begin_test(settings: Settings, tracking: Tracking, version: Version, now: datetime) -> None:
    """Make the version the challenger, with the present settings of `ab`."""
    ab = settings.ab
    test = ABTest(mode=ab.mode, share=ab.share, salt=ab.salt, began=now)
    _write_state(tracking, version, TESTING)
    tracking.set_alias(CHALLENGER, version.number, {AB_TAG: test.model_dump_json()})
    tracking.untag(version.number, WAITING_TAG)


def wait_for_test(tracking: Tracking, version: Version, now: datetime) -> None:
    """Queue the version: another one is under test."""
    _write_state(tracking, version, WAITING)
    tracking.tag(version.number, {WAITING_TAG: iso(now)})


def waiting(tracking: Tracking) -> list[Version]:
    """The versions that wait for a test, ascending; the newest gets it."""
    return [each for each in tracking.versions() if WAITING_TAG in each.tags and BLOCKED_TAG not in each.tags]


def go_live(tracking: Tracking, version: Version, now: datetime) -> None:
    """Make the version the champion; the one before predicts on unseen, so that the two can be compared."""
    champion = tracking.aliases().get(CHAMPION)
    if champion is not None and champion != version.number:
        tracking.set_alias(PREVIOUS, champion)
    tracking.promote(version.number, {LIVE_SINCE_TAG: iso(now)})
    if tracking.aliases().get(CHALLENGER) == version.number:
        tracking.remove_alias(CHALLENGER)
    tracking.untag(version.number, WAITING_TAG)
    _write_state(tracking, version, LIVE, closed=True)


def end_test(tracking: Tracking, state: str, reason: str) -> None:
    """Take the challenger, if there is one, out of its test: REJECTED or STOPPED."""
    aliases = tracking.aliases()
    number = aliases.get(CHALLENGER)
    if number is None:
        return
    tracking.remove_alias(CHALLENGER)
    if number != aliases.get(CHAMPION):  # else it was left over by an interrupted promotion
        _write_state(tracking, tracking.version(number), state, reason, closed=True)


def wait_for_rollout(settings: Settings, tracking: Tracking) -> str:
    """Wait until every running worker of production serves what the alias says; one line on it.

    A worker is running if it reported within the last few seconds. Never raises for a service or a database
    that is down: the alias has moved, and whoever starts will follow it.
    """
    production = settings.environments.production
    nobody = "No service of production is running; one that starts answers with it."
    if not database_exists(production.database):
        return nobody
    try:
        split = tracking.traffic_split(production.alias)
        wanted = (
            None if split is None else split.shown.number,
            None if split is None or split.other is None else split.other.number,
        )
        deadline = time.monotonic() + ROLLOUT_SECONDS
        with closing(open_database(production.database)) as database:
            while running := [
                each
                for each in workers(database, 2 * settings.serving.poll_seconds + 1)
                if each.environment == "production"
            ]:
                behind = [each for each in running if (each.version, each.other_version) != wanted]
                plural = "s" if len(running) > 1 else ""
                progress = f"in {len(running) - len(behind)} of {len(running)} worker{plural} of production"
                if not behind:
                    return f"Live {progress}."
                if time.monotonic() > deadline:
                    return (
                        f"warning: live {progress} after {ROLLOUT_SECONDS:g} seconds; look into the log of"
                        f" {behind[0].id}"
                    )
                time.sleep(POLL_SECONDS)
    except UserError as error:
        return f"warning: the rollout cannot be followed: {error}"
    return nobody


def can_be_live(tracking: Tracking, version: Version) -> bool:
    """Whether the version was not rolled back, and the store still has its model."""
    if BLOCKED_TAG in version.tags:
        return False
    with TemporaryDirectory() as scratch:
        try:
            tracking.fetch(version.run_id, HANDOFF_ARTIFACT, Path(scratch))
        except UserError:
            return False
    return True


def _write_state(
    tracking: Tracking, version: Version, state: str, reason: str | None = None, *, closed: bool = False
) -> None:
    """Write to the record of the version's deployment, where it has one, what became of it."""
    record = tracking.version(version.number).tags.get(DEPLOYMENT_TAG)
    if record is None:  # promoted out of band
        return
    tracking.write_record(record, tags={STATE_TAG: state} | ({} if reason is None else {"reason": reason}))
    if closed:
        tracking.close_record(record, state == LIVE)
