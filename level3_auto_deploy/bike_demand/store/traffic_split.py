"""The traffic split of an environment: which versions predict, by the registry's aliases and tags."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bike_demand.store.tracking import CHAMPION, Tracking, Version

# Aliases besides champion, moved only by `store.deployments`.
CHALLENGER = "challenger"  # the version compared with the champion: A/B test or shadow
PREVIOUS = "previous"  # the previous champion, while the current one is watched

# Tags of a version.
DEPLOYMENT_TAG = "deployment"  # id of the deployment that gave the version its alias
AB_TAG = "ab"  # of a challenger: an `ABTest`
AB_RATIO_TAG = "ab_ratio"  # result of its test: its error relative to the champion's


@dataclass(frozen=True)
class TrafficSplit:
    """The versions that predict in one environment: the champion, and the second version, if any.

    `share` of the randomization units are shown the second one's predictions: 0 for a shadow test or a watch.
    """

    shown: Version
    other: Version | None = None
    role: Literal["challenger", "shadow", "previous"] | None = None
    share: float = 0.0
    salt: str = ""
    randomize_by: Literal["time", "key"] = "time"


class ABTest(BaseModel):
    """The tag `ab` of a challenger: the design and start of its test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["ab", "shadow"] = "shadow"
    share: float = 0.0
    salt: str = ""
    began: datetime
    randomize_by: Literal["time", "key"] = "time"


def traffic_split(tracking: Tracking, alias: str) -> TrafficSplit | None:
    """The traffic split of the environment with this alias; None if nothing is live.

    The second version is the challenger, else the previous champion during a watch.
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
    """The challenger's test. None if the tag cannot be read: an alias moved out of band must not harm the
    champion.
    """
    try:
        return ABTest.model_validate_json(challenger.tags.get(AB_TAG, ""))
    except ValidationError:
        return None
