"""Evaluates the signals of production: data quality, error and drift. The loop responds to them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bike_demand.core.current import LABEL_LAG, PROBLEM, TIME, RowId, row_id, target_of, time_of
from bike_demand.core.errors import UnreachableError
from bike_demand.core.problem import DAY
from bike_demand.core.settings import CLEAN_DAYS, DATA, LOG_DAYS, Ranges, Settings, Trigger
from bike_demand.data.frames import has_row_id, time_range, to_frame
from bike_demand.data.label_check import check_gathered
from bike_demand.data.month import iso
from bike_demand.data.quality import FEED, Violation, check_inputs, check_stale
from bike_demand.data.quarantine import good
from bike_demand.data.quarantine import read as read_quarantine
from bike_demand.monitoring import drift, reports, rules
from bike_demand.store import expected_ranges, history
from bike_demand.store.database import Database
from bike_demand.store.deployments import all_deployments
from bike_demand.store.event_log import Signal
from bike_demand.store.gathered import SECOND, gathered_rows
from bike_demand.store.history import Answer
from bike_demand.store.tables import Day, Kind, State
from bike_demand.store.tracking import Tracking, Version

WEEK = timedelta(days=7)
FEED_DAYS = 28  # days of the feed that are checked, besides the earlier ones that the rules need
RULE_DAYS = 60  # the champion's days that the retraining rules use
BAD_SHARE = 0.1  # of a day's requests; with more violations its error says little about a model
# The baseline predicts from labels this long before the evaluated days.
BASELINE = PROBLEM.season or LABEL_LAG + 28 * DAY
SILENT = timedelta(days=2)  # without requests for this long, expected ranges are computed from the feed
REQUESTS = "requests"
PLACES = {REQUESTS: "in requests", FEED: "in the feed"}
_clean: dict[tuple[str, str], datetime] = {}  # by folder and rules: the day from which on rows are checked


class SourcedViolation(NamedTuple):
    """A violation with its source, "requests" or "feed"."""

    source: str
    violation: Violation


@dataclass(frozen=True)
class Evaluation:
    """The findings in production. `days` are those of all versions together, `champions` are the champion's
    days without bad requests, which are used to evaluate its error.
    """

    now: datetime
    champion: Version | None
    signals: list[Signal]
    violations: list[SourcedViolation]
    days: list[Day]
    champions: list[Day]


def evaluate_signals(
    settings: Settings,
    tracking: Tracking,
    database: Database,
    as_of: datetime | None,
    now: datetime,
    page: bool = False,
) -> Evaluation:
    """Update the history of days, publish expected ranges, and find what needs attention.

    `page`: write the drift report now, and as a page, even if it is not due. Raises UserError.
    """
    until = now if as_of is None else min(now, as_of)
    answers, recount = _answers(settings, database, until)
    first = history.first_answers(answers)
    asked = to_frame([each.asked for each in first])
    of_requests = check_inputs(asked, settings.quality)
    rows, of_feed = _feed(settings, database, until, now)
    violations = [SourcedViolation(FEED, each) for each in of_feed]
    expected = (rows, of_feed)
    if len(asked) and time_range(asked)[1] >= until - SILENT:
        violations = [*(SourcedViolation(REQUESTS, each) for each in of_requests), *violations]
        expected = (asked, of_requests)
    known = history.labels(database, recount - BASELINE, until)
    counted = [each for each in answers if time_of(each.asked) >= recount]
    history.keep(database, counted, known, _by_day(of_requests, of_feed))
    _publish_ranges(database, *expected, until, settings.monitoring.ranges)
    signals = list(_quality_signals(violations, now))
    champion = _champion(tracking, database)
    begin = (until - LABEL_LAG).date() - RULE_DAYS * DAY
    days = history.days(database, begin, until.date())
    champions = [] if champion is None else _champions(database, days, champion.number, begin, until.date())
    if champion is not None:
        error = rules.error_signal(champions, rules.reference_error(champion), now, settings)
        if error is not None:
            signals.append(error)
        drifted = _drift(settings, tracking, database, champion, first, known, of_requests, days, now, page)
        if drifted is not None:
            moved = drift.signal(drifted, now, settings.monitoring.drift)
            signals += [] if moved is None else [moved]
    return Evaluation(now, champion, signals, violations, days, champions)


def has_bad_requests(day: Day) -> bool:
    """Whether so many requests of that day violated a rule that its error says little about a model."""
    return any(
        rows > BAD_SHARE * day.rows and not rule.startswith(f"{FEED} ")
        for found in day.quality.values()
        for rule, rows in found.items()
    )


def _answers(settings: Settings, database: Database, until: datetime) -> tuple[list[Answer], datetime]:
    """The logged predictions to evaluate, and the time from which on days are counted again."""
    recount = _midnight(until - LABEL_LAG) - settings.monitoring.late_days * DAY
    last, earliest = history.last_day(database), history.first_time(database)
    if earliest is None:
        return [], recount
    if last is None:
        recount = min(recount, _midnight(earliest))
    elif last < recount.date():  # the last evaluation was too long ago
        recount = datetime.combine(last, time())
    since = _judgeable(database, recount - CLEAN_DAYS * DAY) or earliest
    return history.answers(database, max(since, recount - LOG_DAYS * DAY), until), recount


def _judgeable(database: Database, latest: datetime) -> datetime | None:
    """The last start, at most `latest`, of a stretch of clean days; None if there is none."""
    days = history.days(database, (latest - LOG_DAYS * DAY).date(), (latest + CLEAN_DAYS * DAY).date())
    return _clean_since({day.day for day in days if not day.quality}, latest)


def _clean_since(clean: set[date], latest: datetime) -> datetime | None:
    """The last day, at most `latest`, that begins CLEAN_DAYS clean days in a row; None if there is none.

    Days after that can be judged from there on. A check that started in the middle of ten days in a wrong
    unit would take the right one for a change.
    """
    for back in range(LOG_DAYS + 1):
        day = (latest - back * DAY).date()
        if all(day + number * DAY in clean for number in range(CLEAN_DAYS)):
            return datetime.combine(day, time())
    return None


def _feed(
    settings: Settings, database: Database, until: datetime, now: datetime
) -> tuple[pd.DataFrame, list[Violation]]:
    """The newest ingested rows and their violations. A process first checks all rows; later evaluations start
    at days that were found clean.
    """
    key = (str(DATA.absolute()), settings.quality.model_dump_json())
    latest = _midnight(until) - FEED_DAYS * DAY
    since = _clean.get(key)
    rows = gathered_rows(since if since is not None and since <= latest else None, until)
    found: list[Violation] = []
    if len(rows):
        first, last = time_range(rows)
        known = history.labels(database, first, last + SECOND)
        found = [*check_stale(rows, settings.quality, now), *check_gathered(rows, known, settings.quality)]
    bad = {moment.date() for each in found for moment in each.times}
    clean = _clean_since(set(rows[TIME].dt.date) - bad, latest)
    if clean is not None:
        _clean[key] = clean
    return rows, found


def _by_day(
    of_requests: Sequence[Violation], of_feed: Sequence[Violation]
) -> dict[date, dict[str, dict[str, int]]]:
    """The number of bad rows per day: {day: {field: {rule: rows}}}; rules violated by the feed are marked."""
    found: dict[date, dict[str, dict[str, int]]] = {}
    named = [(each.rule, each) for each in of_requests] + [(f"{FEED} {each.rule}", each) for each in of_feed]
    for name, each in named:
        for moment in each.times:
            rows = found.setdefault(moment.date(), {}).setdefault(each.subject, {})
            rows[name] = rows.get(name, 0) + 1
    return found


def _champions(database: Database, days: Sequence[Day], number: int, since: date, until: date) -> list[Day]:
    bad = {day.day for day in days if has_bad_requests(day)}
    return [day for day in history.days(database, since, until, number) if day.day not in bad]


def _bad_rows(found: Sequence[Violation]) -> dict[str, set[RowId]]:
    bad: dict[str, set[RowId]] = {}
    for each in found:
        bad.setdefault(each.subject, set()).update(each.rows)
    return bad


def _publish_ranges(
    database: Database, rows: pd.DataFrame, violations: Sequence[Violation], until: datetime, rule: Ranges
) -> None:
    """Publish expected ranges for the fields that are good in these rows, and for fields without one."""
    known = expected_ranges.read(database)
    bad_now = {each.subject for each in violations if each.ongoing}
    made = expected_ranges.compute(rows, _bad_rows(violations), until, rule)
    if new := [each for each in made if each.field not in bad_now or each.field not in known]:
        expected_ranges.publish(database, new)


def _champion(tracking: Tracking, database: Database) -> Version | None:
    """The champion or, if the registry is down, what its deployment says about it."""
    try:
        return tracking.champion()
    except UnreachableError:
        live = next(iter(all_deployments(database, State.LIVE)), None)
        return None if live is None else Version(live.version, live.run_id, None, live.digest)


def _drift(
    settings: Settings,
    tracking: Tracking,
    database: Database,
    champion: Version,
    answers: Sequence[Answer],
    labels: Mapping[RowId, float],
    of_requests: Sequence[Violation],
    days: Sequence[Day],
    now: datetime,
    page: bool,
) -> Mapping[str, Any] | None:
    """The newest drift report: a new one if due, else the stored one; None if there is none yet.

    When it is due, so are the reports on data and model quality.
    """
    rule = settings.monitoring.drift
    latest = history.drifts(database)
    if latest and now - latest[0][0] < rule.every_days * DAY and not page:
        return latest[0][1]
    before = latest[0][1] if latest else None
    window = drift.reference_window(tracking, champion, rule.reference_days)
    if window is None:
        return before
    week = [each for each in answers if time_of(each.asked) >= now - WEEK]
    asked = to_frame([each.asked for each in week])
    predictions = np.array([each.prediction for each in week], dtype=np.float64)
    good_ones = ~has_row_id(asked, set().union(*_bad_rows(of_requests).values()))
    learned = good(gathered_rows(window[0], window[1] + SECOND), read_quarantine())
    made = drift.report(
        tracking, champion, asked[good_ones], predictions[good_ones], learned, now, rule, page
    )
    if made is None:
        return before
    reports.report_summary(reports.table(asked, predictions), now, settings.quality)
    _report_quality(answers, labels, days, rules.reference_error(champion), now, settings.trigger)
    history.keep_drift(database, now, made)
    return made


def _report_quality(
    answers: Sequence[Answer],
    labels: Mapping[RowId, float],
    days: Sequence[Day],
    reference: rules.Reference,
    now: datetime,
    rule: Trigger,
) -> None:
    """Report on the newest week with known labels."""
    first, last = now - LABEL_LAG - WEEK, now - LABEL_LAG
    week = [each for each in answers if first <= time_of(each.asked) < last]
    pairs = [
        (each.prediction, target_of(labels[row])) for each in week if (row := row_id(each.asked)) in labels
    ]
    if pairs:
        limits = rules.limits([day for day in days if first.date() <= day.day < last.date()], reference, rule)
        predictions, targets = np.array(pairs, dtype=np.float64).T
        reports.report_quality(predictions, targets, now, limits)


def _quality_signals(violations: Sequence[SourcedViolation], now: datetime) -> Iterator[Signal]:
    """One signal for each subject with an ongoing violation."""
    by_subject: dict[str, list[SourcedViolation]] = {}
    for each in violations:
        if each.violation.ongoing:
            by_subject.setdefault(each.violation.subject, []).append(each)
    for subject, found in by_subject.items():
        first = found[0].violation
        sources = list(dict.fromkeys(each.source for each in found))
        # A violation of the feed itself needs no location.
        where = "" if subject == FEED else f" {' and '.join(PLACES[each] for each in sources)}"
        others = [each.violation for each in found if each.violation.rule != first.rule]
        message = "; ".join([f"{first}{where}", *(f"{each.rule}: {each}" for each in others)]) + "."
        rows = {
            source: len({row for each in found if each.source == source for row in each.violation.rows})
            for source in sources
        }
        evidence = {
            "check": first.rule,
            "since": iso(min(each.violation.times[0] for each in found)),
            "until": iso(max(each.violation.times[-1] for each in found)),
            "rows": rows,
        }
        yield Signal(
            Kind.QUALITY,
            subject,
            now,
            message[0].upper() + message[1:] if subject == FEED else message,
            evidence,
        )


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.date(), time())
