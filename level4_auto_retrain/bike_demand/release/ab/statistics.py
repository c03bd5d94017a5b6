"""Estimates how much better or worse a challenger is, with a confidence sequence that is valid at any time.

Method: the one-sided asymptotic confidence sequence of I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy
and A. Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics
2024 (arXiv 2103.06476): Robbins' normal mixture with an estimated variance.

The unit of analysis is the day: the rows of a day share its conditions, so they are far fewer independent
observations than rows. The bounded quantity is the ratio of the two mean losses. A ratio r is
excluded if the mean of the daily sums of (challenger's error - r * champion's error) is shown not to be zero,
so that one sequence covers both "5 % worse" (r = 1.05) and "better" (r = 1).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from bike_demand.core.settings import AB

Floats = npt.NDArray[np.float64]

# The sequence is narrowest after this many days. Tests last two weeks, and should usually end sooner.
TIGHTEST_AT_DAYS = 4
MIN_VARIANCE_ROWS = 12  # with fewer rows the variance cannot be estimated
# A variance estimated from a few days is mostly noise. It is shrunk towards a prior, as if that had been
# observed on PRIOR_DAYS days: the variance of a sum of that many independent rows, times the design effect
# (`ab.design_effect`), because the rows of a day are correlated.
PRIOR_DAYS = 8

# The decision rule. In the first days only the guardrail can decide.
MIN_DAYS = 4
# During a watch, the previous version is ready to take over, so a worse one is rolled back a day earlier.
MIN_WATCH_DAYS = 3
MIN_GUARDRAIL_ROWS = 20  # fewer rows are noise


@dataclass(frozen=True)
class Days:
    """Sums over the rows of each day, shape [..., days]: the challenger's error, the champion's, their
    squares and their product. Leading axes are independent tests.
    """

    rows: Floats
    challenger: Floats
    champion: Floats
    challenger_squared: Floats
    champion_squared: Floats
    product: Floats


@dataclass(frozen=True)
class Estimates:
    """Cumulative estimates at the end of each day, shape [..., days]: the ratio of the challenger's mean
    loss to the champion's, and its bounds. Without data the bounds are 0 and infinity.
    """

    rows: Floats
    challenger: Floats  # mean error so far
    champion: Floats
    ratio: Floats
    low: Floats
    high: Floats


class ABVerdict(IntEnum):
    """The decision that follows from an estimate."""

    CONTINUE = 0
    PROMOTE = 1
    REJECT = 2
    STOP = 3  # far worse: rejected at once


def sample_ratio(shown: int, units: int, share: float) -> float:
    """The p-value of a binomial test that `shown` of `units` fits the planned `share` of the challenger.

    A tiny value means that rows are lost or logged selectively, so that the test is invalid (Fabijan et al.,
    "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019).
    """
    from scipy.stats import binomtest  # takes half a second to import

    return float(binomtest(shown, units, share).pvalue)


def by_day(day: npt.NDArray[np.integer], challenger: Floats, champion: Floats) -> Days:
    """Sum rows by day. `day` holds ordinals, ascending; losses are not negative; each of shape [rows]."""
    _, index = np.unique(day, return_inverse=True)
    one = np.ones(len(index))
    columns = (one, challenger, champion, challenger**2, champion**2, challenger * champion)
    return Days(*(np.bincount(index, each).astype(np.float64) for each in columns))


def by_group(
    day: npt.NDArray[np.integer], group: Sequence[Hashable], challenger: Floats, champion: Floats
) -> tuple[npt.NDArray[np.integer], Floats, Floats]:
    """Average the errors of each group on each day, so that no group dominates.

    Rows without a group (None) stay single. Returns days, ascending, and errors, each of shape [groups].
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
    """Estimate at the end of each day. The probability that a bound is wrong on one
    or more days is at most `alpha`.

    `design_effect`: variance of the sum of a day's rows, relative to independent rows.
    """
    t = np.arange(1, days.rows.shape[-1] + 1, dtype=np.float64)
    a, b = days.challenger, days.champion
    rows, sum_a, sum_b = (each.cumsum(-1) for each in (days.rows, a, b))

    def variance(x: Floats, y: Floats, products: Floats) -> Floats:
        """(Co)variance of two daily sums: observed across days, shrunk towards the variance across rows."""
        sums = x.cumsum(-1) * y.cumsum(-1)
        between = (x * y).cumsum(-1) - sums / t
        within = products.cumsum(-1) / rows - sums / rows**2
        prior = design_effect * (rows / t) * within
        return np.asarray((PRIOR_DAYS * prior + between) / (PRIOR_DAYS + t - 1))

    aa = variance(a, a, days.challenger_squared)
    bb = variance(b, b, days.champion_squared)
    ab = variance(a, b, days.product)
    # |mean of a - r * mean of b| equals its bound: a quadratic equation in r.
    m = margin(t, alpha) ** 2
    mean_a, mean_b = sum_a / t, sum_b / t
    A = mean_b**2 - m * bb
    B = mean_a * mean_b - m * ab
    C = mean_a**2 - m * aa
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(np.maximum(B**2 - A * C, 0))
        known = (A > 0) & (rows >= MIN_VARIANCE_ROWS)  # otherwise no ratio can be excluded
        ratio = np.where(sum_b > 0, sum_a / sum_b, np.where(sum_a > 0, np.inf, 1.0))
        low = np.where(known, np.maximum((B - root) / A, 0), 0.0)
        high = np.where(known, (B + root) / A, np.inf)
        return Estimates(rows, sum_a / rows, sum_b / rows, ratio, low, high)


def margin(t: Floats, alpha: float) -> Floats:
    """The distance of the bound from the mean after `t` observations, in standard deviations of one."""
    # Optimal at TIGHTEST_AT_DAYS for the two-sided sequence, and nearly so for this one.
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / TIGHTEST_AT_DAYS
    v = t * rho2 + 1
    return np.asarray(np.sqrt(2 * v / (t**2 * rho2) * np.log1p(np.sqrt(v) / (2 * alpha))))


def verdicts(
    estimates: Estimates, settings: AB, ended: bool | npt.NDArray[np.bool_], min_days: int = MIN_DAYS
) -> npt.NDArray[np.int_]:
    """An `ABVerdict` for each estimate, shape [..., days]. `ended`: whether the test's days are over by then.

    Promote once "worse by the margin" is excluded, reject once "better" is. When the days are over, the point
    estimate decides.
    """
    seen = np.arange(1, estimates.ratio.shape[-1] + 1) >= min_days
    last = seen & np.asarray(ended)
    verdict = np.where(
        last, np.where(estimates.ratio <= 1 + settings.tolerance, ABVerdict.PROMOTE, ABVerdict.REJECT), 0
    )
    verdict = np.where(seen & (estimates.low > 1), ABVerdict.REJECT, verdict)
    verdict = np.where(seen & (estimates.high < 1 + settings.worse), ABVerdict.PROMOTE, verdict)
    return np.where(violates_guardrail(estimates, settings), ABVerdict.STOP, verdict)


def violates_guardrail(estimates: Estimates, settings: AB) -> npt.NDArray[np.bool_]:
    """Whether the guardrail is violated, for each estimate."""
    return np.asarray((estimates.rows >= MIN_GUARDRAIL_ROWS) & (estimates.ratio > 1 + settings.guardrail))


def is_significantly_worse(estimates: Estimates) -> npt.NDArray[np.bool_]:
    """Whether "not worse" is excluded, for each estimate."""
    return np.asarray((np.arange(1, estimates.ratio.shape[-1] + 1) >= MIN_WATCH_DAYS) & (estimates.low > 1))
