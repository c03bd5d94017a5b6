"""A look at production: everything of a turn of the loop but acting on what is seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from bike_demand.data import quality as checks
from bike_demand.data.quality import Finding
from bike_demand.data.quarantine import read as read_quarantine
from bike_demand.data.schema import Conditions, Hour
from bike_demand.monitoring import drift, quality, rules
from bike_demand.monitoring import norms as normal
from bike_demand.monitoring.gathered import gathered_hours
from bike_demand.monitoring.quality import FEED, REQUESTS, Found
from bike_demand.prediction_log import history
from bike_demand.prediction_log import norms as published
from bike_demand.prediction_log.database import Database
from bike_demand.prediction_log.event_log import Signal
from bike_demand.prediction_log.history import Answer, Day
from bike_demand.prediction_log.norms import Norm
from bike_demand.settings import DATA, Settings
from bike_demand.tracking import Tracking, Version

DAY, WEEK = timedelta(days=1), timedelta(days=7)
FEED_DAYS = 28  # of the feed that are looked at, with as many before as it takes to judge them
LOG_DAYS = 60  # of the log that are searched for some that can be judged from
CLEAN_DAYS = 14  # in a row, from where on what comes after can be judged
RULE_DAYS = 60  # of the champion, for the rules
_clean: dict[tuple[str, str], datetime] = {}  # of a folder and the checks: a day from which on to look
SILENT = timedelta(days=2)  # nothing was asked for so long: then the feed has to tell what is normal


@dataclass(frozen=True)
class Seen:
    """What was seen at a look. `days` are those of all versions together, `champions` those of the champion
    on which nothing was wrong with what was asked: by these its error is judged.
    """

    now: datetime
    champion: Version | None
    signals: list[Signal]
    found: list[Found]
    days: list[Day]
    champions: list[Day]
    norms: list[Norm]
    drift: Mapping[str, Any] | None


def look(
    settings: Settings,
    tracking: Tracking,
    database: Database,
    as_of: datetime | None,
    now: datetime,
    page: bool = False,
) -> Seen:
    """Bring the history of the days up to date, publish what is normal, and see what is not as it should be.

    `page`: make the drift report now, and as a page, even where it is not due. Raises UserError.
    """
    until = now if as_of is None else min(now, as_of)
    answers, recount = _answers(settings, database, until)
    first = history.first_answers(answers)
    asked = [each.asked for each in first]
    of_requests = checks.inputs(asked, settings.monitoring.quality) if asked else []
    rows, of_feed = _feed(settings, database, until, now)
    found = [
        *(Found(REQUESTS, each) for each in of_requests if asked[-1].timestamp >= until - SILENT),
        *(Found(FEED, each) for each in of_feed),
    ]
    history.keep(
        database,
        [each for each in answers if each.asked.timestamp >= recount],
        history.counts(database, recount - WEEK, until),
        _by_day(of_requests, of_feed),
    )
    norms = _norms(settings, database, asked, of_requests, rows, of_feed, until)
    signals = quality.signals(found, now)
    champion = tracking.champion()
    begin = until.date() - RULE_DAYS * DAY
    days = history.days(database, begin, until.date())
    champions = [] if champion is None else _champions(database, days, champion.number, begin, until.date())
    drifted = None
    if champion is not None:
        error = rules.error_signal(champions, rules.promise(champion), now, settings)
        if error is not None:
            signals.append(error)
        drifted = _drift(settings, tracking, database, champion, first, of_requests, now, page)
        if drifted is not None:
            moved = drift.signal(drifted, now, settings.monitoring.drift)
            signals += [] if moved is None else [moved]
    return Seen(now, champion, signals, found, days, champions, norms, drifted)


def asked_badly(day: Day) -> bool:
    """Whether something was wrong with what was asked that day: its error says little of a model."""
    return any(not check.startswith(f"{FEED} ") for its in day.quality.values() for check in its)


def _answers(settings: Settings, database: Database, until: datetime) -> tuple[list[Answer], datetime]:
    """The answers to look at, and from when on their days are to be counted again."""
    recount = _midnight(until) - settings.monitoring.late_days * DAY
    last, earliest = history.last_day(database), history.first_hour(database)
    if earliest is None:
        return [], recount
    if last is None:
        recount = min(recount, _midnight(earliest))
    elif last < recount.date():  # nobody looked for a while
        recount = datetime.combine(last, time())
    since = _judgeable(database, recount - CLEAN_DAYS * DAY) or earliest
    return history.answers(database, max(since, recount - LOG_DAYS * DAY), until), recount


def _judgeable(database: Database, latest: datetime) -> datetime | None:
    """The last day not after `latest` from which on nothing was wrong for a while; None: there is none."""
    days = history.days(database, (latest - LOG_DAYS * DAY).date(), (latest + CLEAN_DAYS * DAY).date())
    return _clean_since({day.day for day in days if not day.quality}, latest)


def _clean_since(clean: set[date], latest: datetime) -> datetime | None:
    """The last day not after `latest` that begins some clean ones in a row; None where there is none.

    What comes after can be judged from there on. Begun amid ten days of Fahrenheit, Celsius would look wrong.
    """
    for back in range(LOG_DAYS + 1):
        day = (latest - back * DAY).date()
        if all(day + number * DAY in clean for number in range(CLEAN_DAYS)):
            return datetime.combine(day, time())
    return None


def _feed(
    settings: Settings, database: Database, until: datetime, now: datetime
) -> tuple[list[Hour], list[Finding]]:
    """The newest gathered hours and what is wrong with them. The first look of a process goes through all,
    the next ones begin at days that were found clean.
    """
    key = (str(DATA.absolute()), settings.monitoring.quality.model_dump_json())
    latest = _midnight(until) - FEED_DAYS * DAY
    since = _clean.get(key)
    rows = gathered_hours(since if since is not None and since <= latest else None, until)
    found = _of_feed(settings, database, rows, now)
    bad = {hour.date() for each in found for hour in each.hours}
    clean = _clean_since({row.timestamp.date() for row in rows} - bad, latest)
    if clean is not None:
        _clean[key] = clean
    return rows, found


def _of_feed(settings: Settings, database: Database, rows: Sequence[Hour], now: datetime) -> list[Finding]:
    if not rows:
        return []
    first, end = rows[0].timestamp, rows[-1].timestamp + checks.HOUR
    known = history.counts(database, first, end)
    rule = settings.monitoring.quality
    return [
        *checks.inputs(rows, rule),
        *checks.arrival(rows, rule, now),
        *checks.gaps(rows, [hour for hour, count in known.items() if count], rule),
        *checks.targets(rows, known, history.unknown(database, first, end), rule),
    ]


def _by_day(
    of_requests: Sequence[Finding], of_feed: Sequence[Finding]
) -> dict[date, dict[str, dict[str, int]]]:
    """By day and subject, the hours that each check found; those of the feed are called so."""
    found = quality.by_day(of_requests)
    for day, its in quality.by_day(of_feed).items():
        for subject, hours in its.items():
            named = {f"{FEED} {check}": number for check, number in hours.items()}
            found.setdefault(day, {}).setdefault(subject, {}).update(named)
    return found


def _champions(database: Database, days: Sequence[Day], number: int, since: date, until: date) -> list[Day]:
    bad = {day.day for day in days if asked_badly(day)}
    return [day for day in history.days(database, since, until, number) if day.day not in bad]


def _bad(found: Sequence[Finding]) -> dict[str, set[datetime]]:
    bad: dict[str, set[datetime]] = {}
    for each in found:
        bad.setdefault(each.subject, set()).update(each.hours)
    return bad


def _norms(
    settings: Settings,
    database: Database,
    asked: Sequence[Conditions],
    of_requests: Sequence[Finding],
    rows: Sequence[Hour],
    of_feed: Sequence[Finding],
    until: datetime,
) -> list[Norm]:
    """Publish the norms of the fields that are right now, and of those that had none; all that count now."""
    known = published.read(database)
    source: Sequence[Conditions] = asked
    findings = of_requests
    if not asked or asked[-1].timestamp < until - SILENT:
        source, findings = rows, of_feed
    bad_now = {each.subject for each in findings if each.goes_on}
    made = normal.norms(source, _bad(findings), until, settings.monitoring.norms)
    new = [each for each in made if each.field not in bad_now or each.field not in known]
    if new:
        published.publish(database, new)
    return list((known | {each.field: each for each in new}).values())


def _drift(
    settings: Settings,
    tracking: Tracking,
    database: Database,
    champion: Version,
    first: Sequence[Answer],
    of_requests: Sequence[Finding],
    now: datetime,
    page: bool,
) -> Mapping[str, Any] | None:
    """The newest drift report: of now where one is due, else of before; None: there is none yet."""
    rule = settings.monitoring.drift
    latest = history.drifts(database)
    if latest and now - latest[0][0] < rule.every_days * DAY and not page:
        return latest[0][1]
    before = latest[0][1] if latest else None
    window = drift.reference_window(tracking, champion, rule.reference_days)
    if window is None:
        return before
    bad = set().union(*_bad(of_requests).values())
    current = [
        (each.asked, each.prediction)
        for each in first
        if each.asked.timestamp >= now - WEEK and each.asked.timestamp not in bad
    ]
    left_out = read_quarantine().left_out
    learned = [
        row for row in gathered_hours(window[0], window[1] + checks.HOUR) if row.timestamp not in left_out
    ]
    made = drift.report(tracking, champion, current, learned, now, rule, page)
    if made is None:
        return before
    history.keep_drift(database, now, made.content())
    return made.content()


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.date(), time())
