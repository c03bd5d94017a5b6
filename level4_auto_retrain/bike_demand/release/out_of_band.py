"""Out-of-band promotions: somebody made a version the champion without a deployment, by moving the alias."""

from dataclasses import dataclass
from datetime import datetime

from bike_demand.data.table import iso
from bike_demand.release.transitions import LIVE, LIVE_SINCE_TAG, STATE_TAG, can_be_live
from bike_demand.store.tracking import BLOCKED_TAG, CHAMPION, DEPLOYMENT_TAG, PREVIOUS, Tracking, Version

OUT_OF_BAND_TAG = "put_there"  # of a version that went live without a deployment: how
BY_OTHER_MEANS = "by other means"


@dataclass(frozen=True)
class OutOfBandPromotion:
    """Such a champion, and the last good one before it, where there was one."""

    version: Version
    good: Version | None


def out_of_band_promotion(tracking: Tracking) -> OutOfBandPromotion | None:
    """The champion, if it is none by a promotion or a rollback."""
    champion = tracking.aliases().get(CHAMPION)
    if champion is None:
        return None
    remembered = tracking.remembered()
    if remembered[-1:] == [champion]:
        return None
    if champion in remembered and not _was_live(tracking, tracking.version(remembered[-1])):
        return None  # a promotion was interrupted before the alias moved, or a rollback after it
    earlier = (tracking.version(number) for number in reversed(remembered) if number != champion)
    good = next((each for each in earlier if can_be_live(tracking, each)), None)
    return OutOfBandPromotion(tracking.version(champion), good)


def adopt(tracking: Tracking, found: OutOfBandPromotion, since: datetime) -> None:
    """Let it count as the champion since then, watched beside the last good one, which predicts unseen.

    Only the last step ends the out-of-band promotion, so an interrupted one is repeated.
    """
    number = found.version.number
    tracking.tag(number, {LIVE_SINCE_TAG: iso(since), OUT_OF_BAND_TAG: BY_OTHER_MEANS})
    if found.good is None:
        tracking.remove_alias(PREVIOUS)
    else:
        tracking.set_alias(PREVIOUS, found.good.number)
    tracking.remember([*(each for each in tracking.remembered() if each != number), number])


def _was_live(tracking: Tracking, version: Version) -> bool:
    """Whether its promotion was completed, and it was not rolled back."""
    if BLOCKED_TAG in version.tags or LIVE_SINCE_TAG not in version.tags:
        return False
    record = tracking.find_run(version.tags.get(DEPLOYMENT_TAG))
    return record is None or record.tags.get(STATE_TAG) in (LIVE, "done")
