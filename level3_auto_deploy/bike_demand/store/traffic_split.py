"""Which versions respond in an environment, as the aliases and tags of the registry say."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bike_demand.store.tracking import CHAMPION, Tracking, Version

# Aliases besides champion; `store.deployments` moves them all.
CHALLENGER = "challenger"  # the version that is tried against the champion: A/B test or shadow
PREVIOUS = "previous"  # the champion before, while the present one is watched

# Tags of a version.
DEPLOYMENT_TAG = "deployment"  # the id of the deployment that put it where it is
AB_TAG = "ab"  # of a challenger: an `ABTest`
AB_RATIO_TAG = "ab_ratio"  # what its test came to: its error, as a share of the champion's


@dataclass(frozen=True)
class TrafficSplit:
    """The versions that answer in one environment: the one that is shown, and the other, if any.

    `share` of the randomization units are shown the other's: 0 for a shadow, and for the champion before.
    """

    shown: Version
    other: Version | None = None
    role: Literal["challenger", "shadow", "previous"] | None = None
    share: float = 0.0
    salt: str = ""
    randomize_by: Literal["time", "key"] = "time"


class ABTest(BaseModel):
    """The tag `ab` of a challenger: how it is tested, and since when."""

    model_config = ConfigDict(frozen=True)

    mode: Literal["ab", "shadow"]
    share: float
    salt: str
    began: datetime
    randomize_by: Literal["time", "key"] = "time"


def traffic_split(tracking: Tracking, alias: str) -> TrafficSplit | None:
    """What answers in the environment whose alias this is; None while there is nothing.

    The other one is the challenger or, without one, the champion before while it is there.
    """
    aliases = tracking.aliases()
    if alias not in aliases:
        return None
    shown = tracking.version(aliases[alias])
    if alias != CHAMPION:
        return TrafficSplit(shown)
    challenger, previous = aliases.get(CHALLENGER), aliases.get(PREVIOUS)
    if challenger is not None and challenger != shown.number:
        other = tracking.version(challenger)
        test = ab_test(other)
        if test is not None and test.mode == "shadow":
            return TrafficSplit(shown, other, "shadow", salt=test.salt)
        if test is not None:
            return TrafficSplit(shown, other, "challenger", test.share, test.salt, test.randomize_by)
    if previous is not None and previous != shown.number:
        return TrafficSplit(shown, tracking.version(previous), "previous")
    return TrafficSplit(shown)


def ab_test(challenger: Version) -> ABTest | None:
    """How it is tested. None where no such tag can be read: an alias that was moved out of band must not
    harm the champion.
    """
    try:
        return ABTest.model_validate_json(challenger.tags.get(AB_TAG, ""))
    except ValidationError:
        return None
