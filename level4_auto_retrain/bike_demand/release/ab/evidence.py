"""Evidence for A/B tests and watches: compares two versions' predictions for the same rows."""

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict

from bike_demand import clock
from bike_demand.core.current import LABEL_LAG, PROBLEM, target_of
from bike_demand.core.settings import AB, DATA, Settings
from bike_demand.data.ingested import ingested_months
from bike_demand.release.ab.statistics import (
    MIN_DAYS,
    MIN_GUARDRAIL_ROWS,
    MIN_WATCH_DAYS,
    ABVerdict,
    Estimates,
    Floats,
    by_day,
    by_group,
    estimate,
    is_significantly_worse,
    sample_ratio,
    verdicts,
    violates_guardrail,
)
from bike_demand.store.deployments import Deployments
from bike_demand.store.queries import Pair, count_missing_outcomes, pairs
from bike_demand.store.traffic_split import CHALLENGER, ABTest

# At the end of a test, outcomes must be known for this share of the predicted rows. Otherwise the test goes
# on for at most another `days` days.
KNOWN_SHARE = 0.5


class ComparisonKind(StrEnum):
    """The purpose of the comparison."""

    TEST = "test"  # of a challenger
    WATCH = "watch"  # of a champion, after its promotion


class Comparison(ABTest):
    """What is compared: a version and its opponent, the planned days; the design is by default a watch's."""

    kind: ComparisonKind
    version: int
    against: int
    days: int

    @property
    def end(self) -> datetime:
        """The planned end: after the planned days, once their labels are known."""
        return self.began + timedelta(days=self.days) + LABEL_LAG


class DailyResult(BaseModel):
    """The result at the end of a day. Errors, ratio and bounds are cumulative. None: no bound yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: date
    rows: int  # of this day
    shown: int  # of these, for which the challenger's prediction was shown
    error: float
    error_against: float
    ratio: float | None
    low: float
    high: float | None


class Evidence(BaseModel):
    """The results of all days, and the verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    comparison: Comparison
    now: datetime
    rows: int
    waiting: int  # rows with predictions whose outcome is due but missing
    units: int = 0  # randomization units
    units_shown: int = 0  # units that were shown the challenger's predictions
    sample_ratio: float | None = None  # p-value of the sample-ratio test; None: nothing was randomized
    days: tuple[DailyResult, ...]
    verdict: str  # of a test: continue, promote, reject, stop; of a watch: continue, roll back, end
    reason: str
    rule: AB


def running_test(deployments: Deployments) -> Comparison | None:
    """The running test; None if there is none."""
    row = deployments.testing()
    if row is None or row.test is None or row.against is None:
        return None
    kind, days = ComparisonKind.TEST, deployments.settings.ab.days
    return Comparison(kind=kind, version=row.version, against=row.against, days=days, **row.test)


def running_watch(deployments: Deployments) -> Comparison | None:
    """The running watch of a promotion; None if there is none."""
    row = deployments.live()
    if row is None or row.bake_until is None or row.against is None:
        return None
    days = (row.bake_until - LABEL_LAG - row.changed_at).days
    return Comparison(
        kind=ComparisonKind.WATCH, version=row.version, against=row.against, began=row.changed_at, days=days
    )


def collect(deployments: Deployments, comparison: Comparison) -> Evidence:
    """The evidence for a test or a watch so far. Raises UnreachableError if the database is down."""
    settings, as_of, database = deployments.settings, deployments.as_of, deployments.database
    found = pairs(database, comparison.version, comparison.against, comparison.began, as_of or datetime.max)
    now = _now(settings, as_of, comparison.began, found)
    found = [pair for pair in found if pair.time < now]
    missing = count_missing_outcomes(database, comparison.began, now - LABEL_LAG)
    return evaluate(found, comparison, settings.ab, now, missing)


def _now(settings: Settings, as_of: datetime | None, began: datetime, found: Sequence[Pair]) -> datetime:
    """The reference time; with the feed's clock that of the rows with an outcome, if it is later."""
    if as_of is not None or settings.clock == "wall":
        return clock.now(settings, as_of)
    now = max(began, clock.now(settings, None)) if ingested_months(DATA) else began
    return clock.advance(now, [pair.time for pair in found])


def evaluate(
    pairs: Sequence[Pair], comparison: Comparison, settings: AB, now: datetime, waiting: int
) -> Evidence:
    """Evaluate the rows of the days before `now`. A day counts once it is over and its labels are due,
    because labels that arrive early may differ systematically from the others.
    """
    until = (now - LABEL_LAG).date()
    pairs = [pair for pair in pairs if comparison.began <= pair.time and pair.time.date() < until]
    truth = [target_of(pair.label) for pair in pairs]
    challenger = _errors([pair.prediction for pair in pairs], truth)
    champion = _errors([pair.other for pair in pairs], truth)
    ordinals = np.array([pair.time.toordinal() for pair in pairs], dtype=np.int64)
    estimates = None
    if pairs:
        means = by_group(ordinals, [pair.group for pair in pairs], challenger, champion)
        estimates = estimate(by_day(*means), settings.alpha, settings.design_effect)
    units = {pair.key if comparison.randomize_by == "key" else pair.time: pair.variant for pair in pairs}
    shown = sum(variant == CHALLENGER for variant in units.values())
    randomized = units and comparison.mode == "ab"
    verdict, reason = _test_verdict(estimates, len(pairs), comparison, settings, now, waiting)
    return Evidence(
        comparison=comparison,
        now=now,
        rows=len(pairs),
        waiting=waiting,
        units=len(units),
        units_shown=shown,
        sample_ratio=sample_ratio(shown, len(units), comparison.share) if randomized else None,
        days=() if estimates is None else _days(pairs, ordinals, estimates),
        verdict=verdict,
        reason=reason,
        rule=settings,
    )


def _errors(answers: Sequence[float], truth: Sequence[float]) -> Floats:
    found: Floats = PROBLEM.loss.per_row(np.array(answers, np.float64), np.array(truth, np.float64))
    return found


def _days(
    pairs: Sequence[Pair], ordinals: np.ndarray[tuple[int], np.dtype[np.int64]], estimates: Estimates
) -> tuple[DailyResult, ...]:
    shown = np.array([pair.variant == CHALLENGER for pair in pairs])
    return tuple(
        DailyResult(
            day=date.fromordinal(int(ordinal)),
            rows=int((ordinals == ordinal).sum()),
            shown=int(shown[ordinals == ordinal].sum()),
            error=float(estimates.challenger[at]),
            error_against=float(estimates.champion[at]),
            ratio=_finite(estimates.ratio[at]),
            low=float(estimates.low[at]),
            high=_finite(estimates.high[at]),
        )
        for at, ordinal in enumerate(np.unique(ordinals))
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _test_verdict(
    estimates: Estimates | None, rows: int, comparison: Comparison, settings: AB, now: datetime, waiting: int
) -> tuple[str, str]:
    """The verdict on the latest estimates, and its reason."""
    over, days = now >= comparison.end, comparison.days
    extended = now >= comparison.end + timedelta(days=days)
    if comparison.kind is ComparisonKind.WATCH:
        return _watch_verdict(estimates, rows, comparison, settings, now, waiting)
    summary = _summary(estimates, rows)
    found = ABVerdict.CONTINUE
    if estimates is not None:
        enough = rows >= KNOWN_SHARE * (rows + waiting)
        min_days = 1 if extended else MIN_DAYS  # there may never be so many days with rows
        found = ABVerdict(int(verdicts(estimates, settings, over and enough, min_days)[-1]))
    match found:
        case ABVerdict.STOP:
            return "stop", f"far worse: {summary}"
        case ABVerdict.PROMOTE if estimates is not None and estimates.high[-1] < 1 + settings.worse:
            return "promote", f"an error {settings.worse:.0%} higher is ruled out: {summary}"
        case ABVerdict.REJECT if estimates is not None and estimates.low[-1] > 1:
            return "reject", f"a lower error is ruled out: {summary}"
        case ABVerdict.PROMOTE:
            return "promote", f"at most {settings.tolerance:.0%} worse after {days} days: {summary}"
        case ABVerdict.REJECT:
            return "reject", f"more than {settings.tolerance:.0%} worse after {days} days: {summary}"
    if extended:
        return "reject", f"too few outcomes in {2 * days} days for a verdict: {summary}"
    if over:
        summary = f"too few outcomes after {days} days; {summary}"
    elif estimates is not None and estimates.ratio.shape[-1] < MIN_DAYS:
        summary = f"{summary}; before {MIN_DAYS} days a test can only be stopped"
    return "continue", f"undecided so far, {summary}"


def _watch_verdict(
    estimates: Estimates | None, rows: int, comparison: Comparison, settings: AB, now: datetime, waiting: int
) -> tuple[str, str]:
    summary = _summary(estimates, rows)
    if estimates is not None and violates_guardrail(estimates, settings)[-1]:
        return "roll back", f"far worse than version {comparison.against}: {summary}"
    if estimates is not None and is_significantly_worse(estimates)[-1]:
        return "roll back", f"significantly worse than version {comparison.against}: {summary}"
    over = now >= comparison.end
    enough = rows >= max(MIN_GUARDRAIL_ROWS, KNOWN_SHARE * (rows + waiting))
    if over and enough:
        return "end", f"not significantly worse in {comparison.days} days, {summary}"
    if now >= comparison.end + timedelta(days=comparison.days):
        return "end", f"too few outcomes in {2 * comparison.days} days for a verdict, {summary}"
    if over:
        return "continue", f"too few outcomes after {comparison.days} days; {summary}"
    if estimates is not None and estimates.ratio.shape[-1] < MIN_WATCH_DAYS:
        summary = f"{summary}; before {MIN_WATCH_DAYS} days only a far worse version is rolled back"
    return "continue", f"not significantly worse so far, {summary}"


def _summary(estimates: Estimates | None, rows: int) -> str:
    if estimates is None:
        return "no row has an outcome yet"
    days, ratio = estimates.ratio.shape[-1], estimates.ratio[-1]
    high = f"to {estimates.high[-1]:.2f}" if math.isfinite(estimates.high[-1]) else "and up"
    many = f"{rows} {'row' if rows == 1 else 'rows'} of {'one day' if days == 1 else f'{days} days'}"
    return f"error ratio {ratio:.2f} (bounds {estimates.low[-1]:.2f} {high}), on {many}"
