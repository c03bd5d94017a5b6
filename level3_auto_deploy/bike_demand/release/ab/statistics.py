"""How much worse or better a challenger is, by a confidence sequence valid at any time; the decision rule.

The sequence is the one-sided asymptotic confidence sequence of I. Waudby-Smith, D. Arbour, R. Sinha, E. H.
Kennedy and A. Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", Annals of
Statistics 2024 (arXiv 2103.06476): Robbins' normal mixture with an estimated variance.

The unit is the day: a good or bad day is one for all its rows, which so are far fewer observations.
What is bounded is the ratio of the two mean absolute errors: a ratio r is excluded where the mean of the
daily sums of (error of the challenger - r * error of the champion) is shown not to be zero. So one sequence
answers both "5 % worse" (r = 1.05) and "better" (r = 1).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from bike_demand.core.settings import AB

Floats = npt.NDArray[np.float64]

# The sequence is narrowest after so many days. Tests last two weeks, and are to end sooner.
NARROWEST_DAYS = 4
LEAST_ROWS = 12  # fewer rows have no variance to speak of
# A variance known from a few days only is mostly luck. It is therefore drawn towards what the rows say, as
# if that had been seen on PRIOR_DAYS days: the variance of the sum of as many rows, times the design effect
# (`ab.design_effect`), as the rows of a day are alike.
PRIOR_DAYS = 8

# The decision rule. Before so many days only the guard decides.
MIN_DAYS = 4
# After a promotion the version before is there to go back to, so a worse one is rolled back a day earlier.
MIN_WATCH_DAYS = 3
GUARD_ROWS = 20  # about a day


@dataclass(frozen=True)
class Days:
    """Sums over the rows of each day, shape [..., days]: of the challenger's error, the champion's,
    and their squares and product. Leading axes are independent tests.
    """

    rows: Floats
    challenger: Floats
    champion: Floats
    challenger_squared: Floats
    champion_squared: Floats
    product: Floats


@dataclass(frozen=True)
class Estimates:
    """What is known at the end of each day, shape [..., days]: the challenger's mean absolute error as a
    multiple of the champion's, and the bounds of that. Nothing known: 0 and infinity.
    """

    rows: Floats
    challenger: Floats  # mean error so far
    champion: Floats
    ratio: Floats
    low: Floats
    high: Floats


class ABVerdict(IntEnum):
    """The decision on an estimate."""

    KEEP_ON = 0
    PROMOTE = 1
    REJECT = 2
    STOP = 3  # far worse: rejected at once


def sample_ratio(shown: int, units: int, share: float) -> float:
    """The p-value of so many of the units being shown the challenger where `share` was planned (binomial).

    A tiny one means that rows are lost, or logged in part: then the test says little (Fabijan et al.,
    "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019).
    """
    from scipy.stats import binomtest  # only here, as it takes half a second to import

    return float(binomtest(shown, units, share).pvalue)


def by_day(day: npt.NDArray[np.integer], challenger: Floats, champion: Floats) -> Days:
    """Sum up rows: their days as numbers, ascending, and absolute errors, each of shape [rows]."""
    _, index = np.unique(day, return_inverse=True)

    def total(values: Floats) -> Floats:
        return np.bincount(index, values).astype(np.float64)

    return Days(
        total(np.ones(len(index))),
        total(challenger),
        total(champion),
        total(challenger**2),
        total(champion**2),
        total(challenger * champion),
    )


def by_group(
    day: npt.NDArray[np.integer], group: Sequence[Hashable], challenger: Floats, champion: Floats
) -> tuple[npt.NDArray[np.integer], Floats, Floats]:
    """The mean errors of each group in each day, so that the biggest one does not decide everything.

    Rows without a group (None) stay as they are. Days, ascending, and errors, each of shape [groups].
    """
    if not any(each is not None for each in group):
        return day, challenger, champion
    _, index = np.unique(
        [f"{number:07} {each}" for number, each in zip(day, group, strict=True)], return_inverse=True
    )
    counts = np.bincount(index)
    days = np.zeros(len(counts), dtype=np.int64)
    days[index] = day
    return days, np.bincount(index, challenger) / counts, np.bincount(index, champion) / counts


def estimate(days: Days, alpha: float, design_effect: float) -> Estimates:
    """Estimate at the end of each day. Each bound alone is wrong on any day at all with probability `alpha`.

    `design_effect`: the variance of the sum of a day's rows as a multiple of that of independent ones.
    """
    t = np.arange(1, days.rows.shape[-1] + 1, dtype=np.float64)
    a, b = days.challenger, days.champion
    rows, sum_a, sum_b = (each.cumsum(-1) for each in (days.rows, a, b))

    def variance(x: Floats, y: Floats, products: Floats) -> Floats:
        """(Co)variance of two sums of a day: of the days seen, drawn towards that of the rows."""
        sums = x.cumsum(-1) * y.cumsum(-1)
        between = (x * y).cumsum(-1) - sums / t
        within = products.cumsum(-1) / rows - sums / rows**2
        prior = design_effect * (rows / t) * within
        return np.asarray((PRIOR_DAYS * prior + between) / (PRIOR_DAYS + t - 1))

    aa = variance(a, a, days.challenger_squared)
    bb = variance(b, b, days.champion_squared)
    ab = variance(a, b, days.product)
    # Where |mean of a - r * mean of b| is as large as its bound: a quadratic equation in r.
    m = margin(t, alpha) ** 2
    mean_a, mean_b = sum_a / t, sum_b / t
    A = mean_b**2 - m * bb
    B = mean_a * mean_b - m * ab
    C = mean_a**2 - m * aa
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(np.maximum(B**2 - A * C, 0))
        known = (A > 0) & (rows >= LEAST_ROWS)  # otherwise no ratio is excluded
        ratio = np.where(sum_b > 0, sum_a / sum_b, np.where(sum_a > 0, np.inf, 1.0))
        low = np.where(known, np.maximum((B - root) / A, 0), 0.0)
        high = np.where(known, (B + root) / A, np.inf)
        return Estimates(rows, sum_a / rows, sum_b / rows, ratio, low, high)


def margin(t: Floats, alpha: float) -> Floats:
    """Half the width of the sequence in standard deviations of one observation, after `t` of them."""
    # Of the two-sided sequence this choice is the best there is at NARROWEST_DAYS, of this one nearly.
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / NARROWEST_DAYS
    v = t * rho2 + 1
    return np.asarray(np.sqrt(2 * v / (t**2 * rho2) * np.log1p(np.sqrt(v) / (2 * alpha))))


def verdicts(estimates: Estimates, settings: AB, ended: bool | npt.NDArray[np.bool_]) -> npt.NDArray[np.int_]:
    """An `ABVerdict` for each estimate, shape [..., days]. `ended`: whether the test's days are over by then.

    Promote once "worse by the margin" is excluded, reject once "better" is. After the days the estimate
    decides.
    """
    seen = np.arange(1, estimates.ratio.shape[-1] + 1) >= MIN_DAYS
    last = seen & np.asarray(ended)
    verdict = np.where(
        last, np.where(estimates.ratio <= 1 + settings.tolerance, ABVerdict.PROMOTE, ABVerdict.REJECT), 0
    )
    verdict = np.where(seen & (estimates.low > 1), ABVerdict.REJECT, verdict)
    verdict = np.where(seen & (estimates.high < 1 + settings.worse), ABVerdict.PROMOTE, verdict)
    return np.where(is_far_worse(estimates, settings), ABVerdict.STOP, verdict)


def is_far_worse(estimates: Estimates, settings: AB) -> npt.NDArray[np.bool_]:
    """Whether the guard trips, by each estimate."""
    return np.asarray((estimates.rows >= GUARD_ROWS) & (estimates.ratio > 1 + settings.guard))


def is_surely_worse(estimates: Estimates) -> npt.NDArray[np.bool_]:
    """Whether "no worse" is excluded, by each estimate."""
    return np.asarray((np.arange(1, estimates.ratio.shape[-1] + 1) >= MIN_WATCH_DAYS) & (estimates.low > 1))
