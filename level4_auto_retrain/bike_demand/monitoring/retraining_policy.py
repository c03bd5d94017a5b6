"""The retraining policy: error signals from the champion's days, and when they lead to a training.

The level of the target, and with it the raw error, varies with the season, so no rule uses the raw error. One
rule tests the signed bias as a share of the target. One tests the skill, the share of the baseline's error
(`Problem.baseline`) that the champion saves, relative to its reference error at release. One detects level
shifts: a step in the bias. Each is a one-sided t-test over the newest days, so that a margin has to be
exceeded significantly, not just once. The margins are the keys of `trigger` in params.yaml.
"""

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any

import numpy as np
from scipy.special import stdtrit

from bike_demand.core.current import LABEL_LAG
from bike_demand.core.problem import DAY, Floats
from bike_demand.core.settings import Settings, Trigger
from bike_demand.store.event_log import LEVEL_SHIFT, NOT_WORSE
from bike_demand.store.tables import DailyStats, Signal, SignalKind, Training
from bike_demand.store.tracking import Version

MONTH = 30 * DAY  # period of the training budget
SHIFT_CONFIDENCE = 0.95  # high, because the clearest of a dozen candidate days is tested
MIN_SHIFT_DAYS = 2  # days after which a level shift is suspected; a training needs `trigger.min_days`
MIN_SPREAD = (
    0.05  # lower limit of the daily spread, as a share of the target: three similar days prove little
)


def reference_of(version: Version, name: str) -> float | None:
    """The `holdout_error` or `skill` of a version's holdout model at training; None if not recorded."""
    return float(version.tags[name]) if name in version.tags else None


def error_signal(
    days: Sequence[DailyStats], skill: float | None, now: datetime, settings: Settings
) -> Signal | None:
    """The signal that the champion's error drifts; None if nothing is significant.

    `days` are the champion's own, ascending, without those with bad requests. `skill`: its reference, the
    share of the baseline's error that its holdout model saved.
    """
    rule = settings.trigger
    if not (recent := recent_days(days, now, rule)):
        return None
    parts: list[str] = []
    evidence: dict[str, Any] = {"days": len(recent), "rows": sum(day.known for day in recent)}
    urgent = False
    share, margin = _bias(recent, rule.confidence)
    evidence |= {"bias": round(share, 4), "bias_margin": round(margin, 4)}
    if abs(share) - margin > rule.bias:
        direction = "high" if share > 0 else "low"
        parts.append(
            f"predictions are {abs(share):.0%} too {direction} (at least {abs(share) - margin:.0%} with"
            f" {rule.confidence:.0%} confidence; limit {rule.bias:.0%})"
        )
        urgent = abs(share) > rule.urgent_bias
    if (since := find_level_shift(recent, rule)) is not None:
        share, _ = _bias([day for day in recent if day.day >= since], rule.confidence)
        evidence["level_shift"] = since.isoformat()
        parts.append(f"predictions since {since} are {abs(share):.0%} too {'high' if share > 0 else 'low'}")
        urgent = True
    if (relative := _relative_error(recent, skill, rule)) is not None:
        ratio, margin = relative
        evidence |= {
            "error_ratio": round(ratio, 4),
            "error_ratio_margin": round(margin, 4),
            "reference_skill": skill,
        }
        if ratio - margin > 1 + rule.error_increase:
            parts.append(
                f"its error relative to the baseline is {ratio:.2f} times the reference (at least"
                f" {ratio - margin:.2f}; limit {1 + rule.error_increase:.2f})"
            )
        urgent = urgent or ratio - margin > 1 + 2 * rule.error_increase
    if not parts:
        return None
    message = f"Over {len(recent)} days {' and '.join(parts)}."
    evidence["urgent"] = urgent
    return Signal(SignalKind.ERROR, f"version {recent[-1].version}", now, now, message, evidence)


def recent_days(days: Sequence[DailyStats], now: datetime, rule: Trigger) -> list[DailyStats]:
    """The days that the error rules evaluate; none if too little is known to decide anything."""
    end = (now - LABEL_LAG).date()  # the labels of later days are not all due yet
    recent = [day for day in days if end - rule.window_days * DAY <= day.day < end and day.known]
    is_enough = len(recent) >= rule.min_days and sum(day.known for day in recent) >= rule.min_rows
    return recent if is_enough else []


def limits(days: Sequence[DailyStats], skill: float | None, rule: Trigger) -> tuple[float | None, float]:
    """The limits of the rules on these days, for tests in reports: the highest mean error, in the unit of the
    loss (None without a reference), and the highest bias in either direction, in the unit of the target.
    """
    rows, baseline_rows = sum(day.known for day in days), sum(day.baseline_rows for day in days)
    error = None
    if skill is not None and baseline_rows:
        baseline = sum(day.baseline_error_sum for day in days) / baseline_rows
        error = (1 + rule.error_increase) * (1 - skill) * baseline
    return error, rule.bias * abs(sum(day.target_sum for day in days)) / max(1, rows)


def find_level_shift(days: Sequence[DailyStats], rule: Trigger) -> date | None:
    """The first day after the clearest step in the bias of these days (ascending); None without a step.

    Both the step and the bias since then must significantly exceed the urgent bias, because a season changes
    the bias slowly. A two-sample t-test with pooled variance is applied at each candidate day.
    """
    best, since = 0.0, None
    days = [day for day in days if day.target_sum > 0]
    bias, target = (np.array([getattr(day, name) for day in days]) for name in ("bias_sum", "target_sum"))
    for at in range(rule.min_days, len(days) - MIN_SHIFT_DAYS + 1):
        before, after = (bias[part].sum() / target[part].sum() for part in (slice(at), slice(at, None)))
        parts = np.array([at, len(days) - at])
        residuals = (bias - np.repeat([before, after], parts) * target) / target.mean()
        margin = stdtrit(len(days) - 2, SHIFT_CONFIDENCE) * max(residuals.std(ddof=2), MIN_SPREAD)
        margin *= np.sqrt((1 / parts).sum())
        step = abs(after - before)
        if min(step, abs(after)) - margin > rule.urgent_bias and step / margin > best:
            best, since = step / margin, days[at].day
    return since


def has_adapted(days: Sequence[DailyStats], champion_days: Sequence[DailyStats]) -> bool:
    """Whether a version has at most half of the champion's bias, on the days since a shift that both have.

    True if they share no day: nothing is known against it.
    """
    champion_bias = {day.day: day.bias_sum for day in champion_days}
    pairs = [(day.bias_sum, champion_bias[day.day]) for day in days if day.day in champion_bias]
    own, champion = (abs(sum(each)) for each in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
    return own <= champion / 2


def age_signal(last: datetime, now: datetime, settings: Settings) -> Signal | None:
    """The signal that the last training was too long ago, whatever the error; None if it was not."""
    age, limit = (now - last).days, settings.trigger.max_age_days
    if age < limit:
        return None
    message = f"The last training or deployment was {age} days ago; the limit is {limit} days."
    return Signal(SignalKind.AGE, "model", now, now, message, {"days": age})


def retraining_refusal(
    trainings: Sequence[Training],
    now: datetime,
    settings: Settings,
    *,
    urgent: bool = False,
    level_shift: date | None = None,
) -> str | None:
    """Why not to train now, given earlier trainings (ascending), in a sentence; None if a training is due.

    If `urgent`, only the shortest cool-down applies. Trainings before a `level_shift` was known do not count
    for the cool-down.
    """
    rule = settings.trigger
    recent = [each for each in trainings if now - each.at < MONTH]
    if len(recent) >= rule.budget:
        available_at = recent[-rule.budget].at + MONTH
        return f"The budget of {rule.budget} trainings in 30 days is used up until {available_at:%Y-%m-%d}."
    if level_shift is not None:
        if now < (at := confirmed_at(level_shift, rule)):
            return f"Whether the level shifted on {level_shift} will be known on {at:%Y-%m-%d}."
        trainings = [each for each in trainings if each.at >= at or LEVEL_SHIFT in each.detail]
    if trainings:
        days = rule.cool_down_days if urgent else cool_down(trainings, rule)
        until = trainings[-1].at + days * DAY
        if now < until:
            since = f"the training of {trainings[-1].at:%Y-%m-%d}"
            return f"Cool-down until {until:%Y-%m-%d}: {days} days after {since}."
    return None


def confirmed_at(level_shift: date, rule: Trigger) -> datetime:
    """When a suspected level shift is certain enough for a training."""
    return datetime.combine(level_shift, time()) + rule.min_days * DAY + LABEL_LAG


def cool_down(trainings: Sequence[Training], rule: Trigger) -> int:
    """Days from the last training to the next: doubled after each whose version was not shown to be good.

    If training does not help, the error has another cause than the model's age, and more attempts are waste.
    """
    days = rule.cool_down_days
    for each in trainings:
        if (not_worse := each.detail.get(NOT_WORSE)) is not None:
            days = rule.cool_down_days if not_worse else min(2 * days, rule.max_cool_down_days)
    return days


def _bias(days: Sequence[DailyStats], confidence: float) -> tuple[float, float]:
    """The signed bias as a share of the target, and the half-width of its one-sided confidence bound."""
    bias = np.array([day.bias_sum for day in days], dtype=np.float64)
    target = np.array([day.target_sum for day in days], dtype=np.float64)
    return _ratio(bias, target, confidence, MIN_SPREAD)


def _relative_error(
    days: Sequence[DailyStats], skill: float | None, rule: Trigger
) -> tuple[float, float] | None:
    """The error relative to the baseline's, as a multiple of the reference, and its half-width; None if not
    informative.

    Uses only days with a known baseline for at least half of the rows; a seasonal baseline has none in the
    first week of data.
    """
    days = [day for day in days if 2 * day.baseline_rows >= day.known and day.baseline_error_sum]
    if skill is None or skill >= 1 or len(days) < rule.min_days:
        return None
    error = np.array([day.paired_error_sum for day in days], dtype=np.float64)
    baseline = np.array([day.baseline_error_sum for day in days], dtype=np.float64)
    return _ratio(error, baseline * (1 - skill), rule.confidence, MIN_SPREAD)


def _ratio(numerator: Floats, denominator: Floats, confidence: float, spread: float) -> tuple[float, float]:
    """The ratio of two sums over days, and the half-width of its one-sided bound by the t distribution.

    The variance is that of the ratio's residuals (Cochran, Sampling Techniques, 1977, chapter 6).
    """
    if not denominator.sum():
        return 0.0, float("inf")
    ratio = numerator.sum() / denominator.sum()
    residuals = (numerator - ratio * denominator) / denominator.mean()
    number = len(numerator)
    sd = max(float(residuals.std(ddof=1)), spread)
    return float(ratio), float(stdtrit(number - 1, confidence) * sd / np.sqrt(number))
