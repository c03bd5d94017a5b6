"""What follows from what is known: promote, reject, or keep on."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from bike_demand.release.ab.statistics import Looks
from bike_demand.settings import AB

# Before so many days only the guard decides.
MIN_DAYS = 4
# After a promotion the one before is there to go back to, so one that is worse is taken back a day earlier.
MIN_WATCH_DAYS = 3
GUARD_HOURS = 20  # about a day


class Verdict(IntEnum):
    """What is to be done after a look."""

    KEEP_ON = 0
    PROMOTE = 1
    REJECT = 2
    STOP = 3  # far worse: rejected at once


def verdicts(looks: Looks, settings: AB, ended: bool | npt.NDArray[np.bool_]) -> npt.NDArray[np.int_]:
    """A `Verdict` for each look, shape [..., days]. `ended`: whether the days of the test are over by then.

    Promote once "worse by the margin" is excluded, reject once "better" is. After the days the estimate
    decides.
    """
    seen = np.arange(1, looks.ratio.shape[-1] + 1) >= MIN_DAYS
    last = seen & np.asarray(ended)
    verdict = np.where(
        last, np.where(looks.ratio <= 1 + settings.tolerance, Verdict.PROMOTE, Verdict.REJECT), 0
    )
    verdict = np.where(seen & (looks.low > 1), Verdict.REJECT, verdict)
    verdict = np.where(seen & (looks.high < 1 + settings.worse), Verdict.PROMOTE, verdict)
    return np.where(far_worse(looks, settings), Verdict.STOP, verdict)


def far_worse(looks: Looks, settings: AB) -> npt.NDArray[np.bool_]:
    """Whether the guard trips, at each look."""
    return np.asarray((looks.hours >= GUARD_HOURS) & (looks.ratio > 1 + settings.guard))


def sure_to_be_worse(looks: Looks) -> npt.NDArray[np.bool_]:
    """Whether "no worse" is excluded, at each look."""
    return np.asarray((np.arange(1, looks.ratio.shape[-1] + 1) >= MIN_WATCH_DAYS) & (looks.low > 1))
