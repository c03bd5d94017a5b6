"""A champion that no deployment put there: somebody moved the alias by other means."""

from dataclasses import dataclass
from datetime import datetime

from bike_demand.data.table import iso
from bike_demand.release.moves import LIVE, LIVE_SINCE_TAG, STATE_TAG
from bike_demand.tracking import BLOCKED_TAG, CHAMPION, DEPLOYMENT_TAG, PREVIOUS, Tracking, Version

PUT_THERE_TAG = "put_there"  # of a version: how it went live, where no deployment did it
BY_OTHER_MEANS = "by other means"


@dataclass(frozen=True)
class Stranger:
    """Such a champion, and the last good one before it, where there was one."""

    version: Version
    good: Version | None


def stranger(tracking: Tracking) -> Stranger | None:
    """The champion that was not made one by a promotion or a rollback; None: the champion was."""
    champion = tracking.aliases().get(CHAMPION)
    if champion is None:
        return None
    remembered = tracking.remembered()
    if remembered[-1:] == [champion]:
        return None
    if champion in remembered and not _was_live(tracking, tracking.version(remembered[-1])):
        return None  # a promotion was cut off before the alias moved, or a rollback after it
    good = (tracking.version(number) for number in reversed(remembered) if number != champion)
    return Stranger(
        tracking.version(champion), next((each for each in good if BLOCKED_TAG not in each.tags), None)
    )


def adopt(tracking: Tracking, found: Stranger, since: datetime) -> None:
    """Let it count as the champion since then, watched beside the last good one, which the service asks too.

    It is no stranger any more only after the last step, so one that was cut off is made again.
    """
    number = found.version.number
    tracking.tag(number, {LIVE_SINCE_TAG: iso(since), PUT_THERE_TAG: BY_OTHER_MEANS})
    if found.good is None:
        tracking.remove_alias(PREVIOUS)
    else:
        tracking.set_alias(PREVIOUS, found.good.number)
    tracking.remember([*(each for each in tracking.remembered() if each != number), number])


def _was_live(tracking: Tracking, version: Version) -> bool:
    """Whether its way to the users was not cut off, and it was not taken back."""
    if BLOCKED_TAG in version.tags or LIVE_SINCE_TAG not in version.tags:
        return False
    record = version.tags.get(DEPLOYMENT_TAG)
    return record is None or tracking.run(record).tags.get(STATE_TAG) in (LIVE, "done")
