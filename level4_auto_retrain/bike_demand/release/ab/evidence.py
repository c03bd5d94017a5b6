"""What two versions answered to the same hours, weighed up: the evidence on which a test is decided."""

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict

from bike_demand.data.target import error, target_of
from bike_demand.prediction_log.queries import Pair
from bike_demand.release.ab.rule import (
    MIN_DAYS,
    MIN_WATCH_DAYS,
    Verdict,
    far_worse,
    sure_to_be_worse,
    verdicts,
)
from bike_demand.release.ab.statistics import Floats, Looks, by_day, look
from bike_demand.settings import AB
from bike_demand.tracking import CHALLENGER

METHOD = (
    "One-sided asymptotic confidence sequence for the ratio of mean absolute errors, day by day, after"
    " Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory and asymptotic"
    " confidence sequences, Annals of Statistics 2024 (arXiv 2103.06476)"
)
# At the end of a test the outcomes of this share of the answered hours have to be known; else it waits for
# them, but no longer than as many days again.
KNOWN_SHARE = 0.5


class Kind(StrEnum):
    """What the evidence is for."""

    TEST = "test"  # of a challenger
    WATCH = "watch"  # of a champion, after its promotion


class Trial(BaseModel):
    """Whom is compared with whom, since when, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    version: int
    against: int
    mode: str  # ab, shadow; of a watch: shadow, as the champion before is not shown
    share: float
    salt: str
    paired: bool
    began: datetime
    days: int


class Day(BaseModel):
    """What was known at the end of a day. Mean errors; a bound that is None: not bounded yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: date
    hours: int
    shown: int  # in so many of these hours the version's answer was shown
    error: float
    error_against: float
    ratio: float | None
    low: float
    high: float | None


class Evidence(BaseModel):
    """All of it, with what follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: Trial
    now: datetime
    hours: int
    waiting: int  # hours that were answered and have no outcome yet
    days: tuple[Day, ...]
    verdict: str  # of a test: keep on, promote, reject, stop; of a watch: keep on, take back, end
    reason: str
    alpha: float
    worse: float
    tolerance: float
    guard: float
    method: str = METHOD


def weigh(pairs: Sequence[Pair], trial: Trial, settings: AB, now: datetime, waiting: int) -> Evidence:
    """What follows from the hours of the days before `now`: a day that is not over says nothing yet."""
    pairs = [pair for pair in pairs if trial.began <= pair.hour and pair.hour.date() < now.date()]
    if not trial.paired:
        challenger, champion = _unpaired(pairs, trial.share)
    else:
        right = [target_of(pair.count) for pair in pairs]
        challenger = _errors([pair.prediction for pair in pairs], right)
        champion = _errors([pair.other for pair in pairs], right)
    ordinals = np.array([pair.hour.toordinal() for pair in pairs], dtype=np.int64)
    looks = look(by_day(ordinals, challenger, champion), settings.alpha) if pairs else None
    verdict, reason = _decide(looks, trial, settings, now, waiting)
    return Evidence(
        trial=trial,
        now=now,
        hours=len(pairs),
        waiting=waiting,
        days=() if looks is None else _days(pairs, ordinals, looks),
        verdict=verdict,
        reason=reason,
        alpha=settings.alpha,
        worse=settings.worse,
        tolerance=settings.tolerance,
        guard=settings.guard,
    )


def _unpaired(pairs: Sequence[Pair], share: float) -> tuple[Floats, Floats]:
    """Errors of the two arms from the shown answers alone, as numbers for each hour with the same means.

    Augmented inverse-probability weighting, as the paper does for treatment effects: the error of an hour
    counts 1 / share times as far as it differs from what is usual at that time of the day, judged by the
    days before.
    """
    arms = np.zeros((2, len(pairs)))
    usual: dict[int, tuple[float, int]] = {}
    today: list[tuple[int, float]] = []
    for number, pair in enumerate(pairs):
        if number and pair.hour.date() != pairs[number - 1].hour.date():
            for hour, known in today:
                total, times = usual.get(hour, (0.0, 0))
                usual[hour] = (total + known, times + 1)
            today = []
        is_challenger = pair.variant == CHALLENGER
        shown = pair.prediction if is_challenger else pair.other
        off_by = error(shown, target_of(pair.count))
        total, times = usual.get(pair.hour.hour, (0.0, 0))
        expected = total / times if times else 0.0
        arms[:, number] = expected
        arms[0 if is_challenger else 1, number] += (off_by - expected) / (
            share if is_challenger else 1 - share
        )
        today.append((pair.hour.hour, off_by))
    return arms[0], arms[1]


def _errors(answers: Sequence[float], right: Sequence[float]) -> Floats:
    return error(np.array(answers, dtype=np.float64), np.array(right, dtype=np.float64))


def _days(
    pairs: Sequence[Pair], ordinals: np.ndarray[tuple[int], np.dtype[np.int64]], looks: Looks
) -> tuple[Day, ...]:
    shown = np.array([pair.variant == CHALLENGER for pair in pairs])
    return tuple(
        Day(
            day=date.fromordinal(int(ordinal)),
            hours=int((ordinals == ordinal).sum()),
            shown=int(shown[ordinals == ordinal].sum()),
            error=float(looks.challenger[at]),
            error_against=float(looks.champion[at]),
            ratio=_finite(looks.ratio[at]),
            low=float(looks.low[at]),
            high=_finite(looks.high[at]),
        )
        for at, ordinal in enumerate(np.unique(ordinals))
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _decide(looks: Looks | None, trial: Trial, settings: AB, now: datetime, waiting: int) -> tuple[str, str]:
    """The verdict after the last look, and why, in a sentence."""
    over = now >= trial.began + timedelta(days=trial.days)
    if trial.kind is Kind.WATCH:
        return _watched(looks, trial, settings, now)
    if looks is None:
        found, known, said = Verdict.KEEP_ON, 0.0, "no hour has an outcome yet"
    else:
        known = float(looks.hours[-1])
        enough = known >= KNOWN_SHARE * (known + waiting)
        found = Verdict(int(verdicts(looks, settings, over and enough)[-1]))
        said = _in_words(looks)
    match found:
        case Verdict.STOP:
            return "stop", f"far worse: {said}"
        case Verdict.PROMOTE if looks is not None and looks.high[-1] < 1 + settings.worse:
            return "promote", f"surely not {settings.worse:.0%} worse: {said}"
        case Verdict.REJECT if looks is not None and looks.low[-1] > 1:
            return "reject", f"surely not better: {said}"
        case Verdict.PROMOTE:
            return "promote", f"not worse after {trial.days} days: {said}"
        case Verdict.REJECT:
            return "reject", f"worse after {trial.days} days: {said}"
    if now >= trial.began + timedelta(days=2 * trial.days):
        return "reject", f"too few outcomes came in {2 * trial.days} days to judge it: {said}"
    if over:
        said = f"its {trial.days} days are over, but too few outcomes are known; {said}"
    elif looks is not None and looks.ratio.shape[-1] < MIN_DAYS:
        said = f"{said}; only a stop may come before {MIN_DAYS} days"
    return "keep on", f"nothing is sure yet, {said}"


def _watched(looks: Looks | None, trial: Trial, settings: AB, now: datetime) -> tuple[str, str]:
    if looks is not None and far_worse(looks, settings)[-1]:
        return "take back", f"far worse than version {trial.against}: {_in_words(looks)}"
    if looks is not None and sure_to_be_worse(looks)[-1]:
        return "take back", f"surely worse than version {trial.against}: {_in_words(looks)}"
    said = "no hour has an outcome yet" if looks is None else _in_words(looks)
    over = now >= trial.began + timedelta(days=trial.days)
    enough = looks is not None and looks.hours[-1] >= KNOWN_SHARE * 24 * trial.days
    if over and enough:
        return "end", f"nothing spoke against it in {trial.days} days, {said}"
    if now >= trial.began + timedelta(days=2 * trial.days):
        return "end", f"too few hours could be compared in {2 * trial.days} days to speak against it, {said}"
    if over:
        return "keep on", f"its {trial.days} days are over, but too few hours could be compared; {said}"
    if looks is not None and looks.ratio.shape[-1] < MIN_WATCH_DAYS:
        said = f"{said}; before {MIN_WATCH_DAYS} days only what is far worse is taken back"
    return "keep on", f"nothing speaks against it so far, {said}"


def _in_words(looks: Looks) -> str:
    days, hours, ratio = looks.ratio.shape[-1], int(looks.hours[-1]), looks.ratio[-1]
    bounds = (
        f"{looks.low[-1]:.2f} to {looks.high[-1]:.2f}" if math.isfinite(looks.high[-1]) else "not bounded yet"
    )
    many = f"{hours} {'hour' if hours == 1 else 'hours'} of {'one day' if days == 1 else f'{days} days'}"
    return f"its error is {ratio:.2f} times the other's ({bounds}), on {many}"
