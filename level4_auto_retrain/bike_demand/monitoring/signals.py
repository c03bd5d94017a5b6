"""Updates daily statistics, expected ranges and reports, and evaluates the signals of production."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import NamedTuple

import pandas as pd

from bike_demand.core.current import FIELDS, KEYS, LABEL_LAG, PROBLEM, TIME, RowId, time_of
from bike_demand.core.errors import UnreachableError
from bike_demand.core.problem import DAY, MIN_TIME
from bike_demand.core.settings import CLEAN_DAYS, LOG_DAYS, Ranges, Settings, Trigger
from bike_demand.data.frames import by_key, has_row_id, time_range, to_frame
from bike_demand.data.label_check import check_ingested
from bike_demand.data.month import iso
from bike_demand.data.quality import FEED, MIN_BAD, NO_TEXTS, Texts, Violation, check_inputs, check_stale
from bike_demand.data.quarantine import read_quarantine, without_quarantined
from bike_demand.monitoring import retraining_policy as policy
from bike_demand.monitoring.drift import drift_signal
from bike_demand.store import daily_stats, event_log, expected_ranges
from bike_demand.store.daily_stats import PredictionRecord
from bike_demand.store.database import Database
from bike_demand.store.deployments import all_deployments
from bike_demand.store.ingested_rows import RESOLUTION, rows_between
from bike_demand.store.tables import DailyStats, Signal, SignalKind, State
from bike_demand.store.tracking import Tracking, Version

FEED_DAYS = 28  # days of the feed that are checked, after the LOG_DAYS that the rules need
RULE_DAYS = 60  # the champion's days that the retraining rules use
MAX_BAD_SHARE = 0.1  # of a day's requests: more violations raise a signal, and make its error meaningless
# Labels needed before the evaluated days to compute the baseline.
BASELINE_HISTORY = PROBLEM.season or LABEL_LAG + 28 * DAY
# Without requests for this long, expected ranges and violations come from the feed only.
SILENT_AFTER = timedelta(days=2)
REQUESTS = "requests"
USUAL = "usual_share"  # key in the evidence of the signal for outcomes that no longer arrive
SOURCE_PHRASES = {REQUESTS: "in requests", FEED: "in the feed"}
TEXTS = [name for name, each in FIELDS.items() if each.kind == "text" and name not in KEYS]
SINGLE_ROW_RULES = ("units", "ranges")  # which one row can violate


class SourcedViolation(NamedTuple):
    """A violation with its source, "requests" or "feed"."""

    source: str
    violation: Violation


@dataclass(frozen=True)
class Evaluation:
    """The findings in production. `days` are those of all versions together."""

    champion: Version | None
    signals: list[Signal]
    violations: list[SourcedViolation]
    days: list[DailyStats]


def evaluate_signals(
    settings: Settings,
    tracking: Tracking,
    database: Database,
    as_of: datetime | None,
    now: datetime,
    force_report: bool = False,
) -> Evaluation:
    """Update daily statistics and expected ranges, write the reports that are due, and evaluate the signals.

    `force_report`: write the drift report now, as a page, even if none is due. Raises UserError.
    """
    logged, recount_from = _logged_predictions(settings, database, now)
    first = daily_stats.first_predictions(logged)
    requested = to_frame([each.inputs for each in first])
    rows, in_feed, texts = _feed(settings, database, now)
    violations = [SourcedViolation(FEED, each) for each in in_feed]
    range_basis = (rows, in_feed, texts)
    in_requests: list[Violation] = []
    if len(requested):
        oldest, newest = time_range(requested)
        texts = _with_texts(texts, rows[rows[TIME] < oldest], in_feed)
        for each in check_inputs(requested, settings.quality, texts):
            is_open = _open_signal(database, SignalKind.QUALITY, each.subject, now) is not None
            # A client's single mistake is no signal.
            ongoing = each.ongoing and _is_frequent(each, requested, MAX_BAD_SHARE, is_open=is_open)
            in_requests.append(each.model_copy(update={"ongoing": ongoing}))
        if newest >= now - SILENT_AFTER:
            violations = [*(SourcedViolation(REQUESTS, each) for each in in_requests), *violations]
            recent = requested[TIME] > newest - settings.monitoring.ranges.days * DAY
            if recent.sum() >= expected_ranges.enough_rows(settings.monitoring.ranges):
                range_basis = (requested, in_requests, texts)
    labels = daily_stats.labels(database, recount_from - BASELINE_HISTORY, now)
    last = daily_stats.last_day(database)
    if as_of is None or last is None or last <= now.date():  # a look at the past changes nothing
        to_recount = [each for each in logged if recount_from <= time_of(each.inputs)]
        daily_stats.store_days(database, to_recount, labels, _count_by_day(in_requests, in_feed))
        _publish_ranges(database, *range_basis, now, settings.monitoring.ranges)
    signals = list(_quality_signals(violations, now))
    champion = _champion(tracking, database)
    begin = (now - LABEL_LAG).date() - max(RULE_DAYS, settings.trigger.window_days) * DAY
    days = daily_stats.read_days(database, begin, now.date())
    signals += _outcome_signals(database, days, now, settings.trigger)
    if champion is not None:
        bad_days = {day.day for day in days if has_bad_requests(day)}
        own = daily_stats.read_days(database, begin, now.date(), champion.number)
        own = [day for day in own if day.day not in bad_days]
        error = _error_signal(database, champion, own, now, settings)
        bad: set[RowId] = set().union(*_bad_rows(in_requests).values())
        drift = drift_signal(
            settings, tracking, database, champion, first, bad, labels, days, now, force_report
        )
        signals += filter(None, (error, drift))
    return Evaluation(champion, signals, violations, days)


def _error_signal(
    database: Database, champion: Version, days: Sequence[DailyStats], now: datetime, settings: Settings
) -> Signal | None:
    """The champion's error signal. The open one goes on while the error cannot be evaluated, and it keeps a
    level shift that no training knows of when too few days before that are left in its window.
    """
    rule, subject = settings.trigger, f"version {champion.number}"
    error = policy.error_signal(days, policy.reference_of(champion, "skill"), now, settings)
    recent = policy.recent_days(days, now, rule)
    known = _open_signal(database, SignalKind.ERROR, subject, now)
    if known is None or (error is None and recent):
        return error
    if error is None:
        since = known.evidence.get(event_log.NOT_EVALUATED) or iso(now)
        evidence = {**known.evidence, event_log.NOT_EVALUATED: since}
        return Signal(SignalKind.ERROR, subject, now, now, known.message, evidence)
    shift = known.evidence.get(event_log.LEVEL_SHIFT)
    if shift is not None and event_log.LEVEL_SHIFT not in error.evidence:
        first = date.fromisoformat(shift)
        before = sum(day.day < first for day in recent)
        if before < rule.min_days and first not in event_log.level_shifts(database):
            error.evidence = {**error.evidence, event_log.LEVEL_SHIFT: shift, "urgent": True}
    return error


def has_bad_requests(day: DailyStats) -> bool:
    """Whether so many requests of that day violated a rule that its error says little about a model."""
    return any(
        rows > MAX_BAD_SHARE * day.rows and not rule.startswith(f"{FEED} ")
        for found in day.quality.values()
        for rule, rows in found.items()
    )


def _logged_predictions(
    settings: Settings, database: Database, until: datetime
) -> tuple[list[PredictionRecord], datetime]:
    """The logged predictions to evaluate, and the time from which on days are counted again.

    The days before that time tell the rules what is normal: also whether a unit has changed, or changed back.
    """
    last = daily_stats.last_day(database)
    newest = MIN_TIME if last is None else min(until, datetime.combine(last, time()))
    recount_from = _midnight(newest - LABEL_LAG) - settings.monitoring.recount_days * DAY
    return daily_stats.logged_predictions(database, recount_from - LOG_DAYS * DAY, until), recount_from


def _feed(
    settings: Settings, database: Database, now: datetime
) -> tuple[pd.DataFrame, list[Violation], Texts]:
    """The newest ingested rows, their violations, and the texts of the good rows before them."""
    since = _midnight(now - LABEL_LAG) - (FEED_DAYS + LOG_DAYS) * DAY
    earlier = without_quarantined(rows_between(None, since), read_quarantine())
    texts, rows = _with_texts(NO_TEXTS, earlier, ()), rows_between(since, now)
    if rows.empty:
        return rows, [], texts
    first, last = time_range(rows)
    known = daily_stats.labels(database, first, last + RESOLUTION)
    found = check_stale(rows, settings.quality, now)
    return rows, found + check_ingested(rows, known, settings.quality, texts), texts


def _with_texts(texts: Texts, rows: pd.DataFrame, violations: Sequence[Violation]) -> Texts:
    """These texts, by field, and those of further rows that are good."""
    bad = _bad_rows(violations)
    return {
        name: {*texts.get(name, ()), *rows.loc[~has_row_id(rows, bad.get(name, set())), name].dropna()}
        for name in TEXTS
    }


def _count_by_day(
    in_requests: Sequence[Violation], in_feed: Sequence[Violation]
) -> dict[date, dict[str, dict[str, int]]]:
    """The number of bad rows per day: {day: {field: {rule: rows}}}; rules violated by the feed are marked."""
    found: dict[date, dict[str, dict[str, int]]] = {}
    named = [(each.rule, each) for each in in_requests] + [(f"{FEED} {each.rule}", each) for each in in_feed]
    for name, each in named:
        for moment in each.times:
            rows = found.setdefault(moment.date(), {}).setdefault(each.subject, {})
            rows[name] = rows.get(name, 0) + 1
    return found


def _bad_rows(found: Sequence[Violation]) -> dict[str, set[RowId]]:
    bad: dict[str, set[RowId]] = {}
    for each in found:
        bad.setdefault(each.subject, set()).update(each.rows)
    return bad


def _is_frequent(violation: Violation, rows: pd.DataFrame, share: float, *, is_open: bool = False) -> bool:
    """Whether more than this share of the newest day's rows violate the rule, and not just single ones, or
    the newest rows of a key all do. Rules that no single row violates have such limits themselves.

    `is_open`: its signal is open, so that half of each limit is enough; else it would come and go near them.
    """
    if violation.rule not in SINGLE_ROW_RULES:
        return True
    part = 0.5 if is_open else 1.0
    bad = has_row_id(rows, set(violation.rows))
    last_day = bad[rows[TIME] > time_range(rows)[1] - DAY]
    if last_day.sum() > part * share * len(last_day) and last_day.sum() >= part * min(MIN_BAD, len(last_day)):
        return True
    return any(bad.iloc[each[-MIN_BAD:]].sum() >= part * MIN_BAD for each in by_key(rows) if KEYS)


def _publish_ranges(
    database: Database,
    rows: pd.DataFrame,
    violations: Sequence[Violation],
    texts: Texts,
    until: datetime,
    settings: Ranges,
) -> None:
    """Publish expected ranges for the fields that are mostly good in these rows, or have none yet."""
    known = expected_ranges.read_ranges(database)
    keep = {each.subject for each in violations if each.ongoing and _is_frequent(each, rows, 0.5)}
    made = expected_ranges.compute_ranges(rows, _bad_rows(violations), until, settings, texts)
    if new := [each for each in made if each.field not in keep or each.field not in known]:
        expected_ranges.publish_ranges(database, new)


def _champion(tracking: Tracking, database: Database) -> Version | None:
    """The champion or, if the registry is down, what the deployments table knows of it."""
    try:
        return tracking.champion()
    except UnreachableError:
        live = next(iter(all_deployments(database, State.LIVE)), None)
        return None if live is None else Version(live.version, live.run_id, None, live.digest)


def _quality_signals(violations: Sequence[SourcedViolation], now: datetime) -> Iterator[Signal]:
    """One signal for each subject with an ongoing violation."""
    by_subject: dict[str, list[SourcedViolation]] = {}
    for each in violations:
        if each.violation.ongoing:
            last = each.violation.since(_start_of_last_stretch(each.violation.times))
            by_subject.setdefault(last.subject, []).append(SourcedViolation(each.source, last))
    for subject, found in by_subject.items():
        first = found[0].violation
        sources = list(dict.fromkeys(each.source for each in found))
        # A violation of the feed itself needs no location.
        where = "" if subject == FEED else f" {' and '.join(SOURCE_PHRASES[each] for each in sources)}"
        others = [each.violation for each in found if each.violation.rule != first.rule]
        message = "; ".join([f"{first}{where}", *(f"{each.rule}: {each}" for each in others)]) + "."
        rows = {
            source: len({row for each in found if each.source == source for row in each.violation.rows})
            for source in sources
        }
        evidence = {
            "rule": first.rule,
            "since": iso(min(each.violation.times[0] for each in found)),
            "until": iso(max(each.violation.times[-1] for each in found)),
            "rows": rows,
        }
        if subject == FEED:
            message = message[0].upper() + message[1:]
        yield Signal(SignalKind.QUALITY, subject, now, now, message, evidence)


def _outcome_signals(
    database: Database, days: Sequence[DailyStats], now: datetime, rule: Trigger
) -> Iterator[Signal]:
    """A signal if outcomes no longer arrive: of the newest days with predictions far fewer are known than of
    those before. While it is open, these are the days before it began.
    """
    end = (now - LABEL_LAG).date()  # the outcomes of later days are not all due yet
    past = [day for day in days if day.day < end]
    due, before = past[-rule.min_days :], past[: -rule.min_days]
    share, usual = (
        sum(day.known for day in each) / max(1, sum(day.rows for day in each)) for each in (due, before)
    )
    known = _open_signal(database, SignalKind.QUALITY, event_log.OUTCOMES, now)
    if known is not None:
        usual = known.evidence.get(USUAL, usual)
    if share < usual / 2:
        message = (
            f"Outcomes no longer arrive: of the rows of the last {rule.min_days} days with predictions they"
            f" are known for {share:.0%}, before for {usual:.0%}."
        )
        evidence = known.evidence if known else {"since": f"{due[0].day}T00:00:00", USUAL: usual}
        yield Signal(SignalKind.QUALITY, event_log.OUTCOMES, now, now, message, evidence)


def _open_signal(database: Database, kind: SignalKind, subject: str, now: datetime) -> Signal | None:
    """The open signal; None if there is none, or this is a look at a time before it."""
    found = (each for each in event_log.open_signals(database) if each.first_at <= now)
    return next((each for each in found if (each.kind, each.subject) == (kind, subject)), None)


def _start_of_last_stretch(times: Sequence[datetime]) -> datetime:
    """The first time after the last CLEAN_DAYS without any."""
    gaps = (after for before, after in pairwise(times) if after - before > CLEAN_DAYS * DAY)
    return max(gaps, default=times[0])


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.date(), time())
