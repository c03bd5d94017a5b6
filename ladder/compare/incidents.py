"""Measures an incident at a level: detection, response, and how long predictions were bad."""

from datetime import date, timedelta
from typing import Any, cast

import pandas as pd

from ladder.compare import measures
from ladder.compare.results import Event, IncidentResult, ReplayResult, day_of
from ladder.runbook import Complaints
from ladder.story import Incident, Story

USERS = "users"
FOUR_WEEKS = timedelta(days=28)  # the period that users compare with

# Which of its own incident kinds a monitoring level may report for an incident (`kind`).
SEEN_AS: dict[str, tuple[str, ...]] = {
    "units": ("data-quality",),
    "outage": ("data-quality",),
    "poison": ("data-quality",),
    "growth": ("error-drift", "input-drift"),
    "new-habits": ("error-drift", "input-drift"),
}


def results(
    story: Story, replayed: ReplayResult, days: pd.DataFrame, oracle: pd.DataFrame, complaints: Complaints
) -> tuple[IncidentResult, ...]:
    """The result of each incident of the story for the level, in order.

    `days` and `oracle` are errors from `measures.daily_error`; the oracle's must begin 6 days before the
    first incident. An incident's period ends where the next one begins, or with the story.
    """
    return tuple(
        _result(each, _last_day(story, each), replayed, days, oracle, complaints) for each in story.incidents
    )


def reported_events(replayed: ReplayResult) -> list[Event]:
    """What the level reports that it noticed, did and rolled back by itself, as events in order of days."""
    noticed = [_noticed_event(each) for each in replayed.reported.get("incidents", ())]
    return sorted([*noticed, *_rolled_back(replayed)], key=lambda event: event.on)


def _noticed_event(reported: dict[str, Any]) -> Event:
    says = f"{reported['kind']}, {reported['subject']}: {reported['description']}"
    return Event(on=day_of(reported["detected_at"]), kind="noticed", says=says)


def _result(
    incident: Incident,
    last: date,
    replayed: ReplayResult,
    days: pd.DataFrame,
    oracle: pd.DataFrame,
    complaints: Complaints,
) -> IncidentResult:
    since = incident.since
    took = measures.days_to_recover(days, oracle, since, last, incident.until)
    lasted = (last - since).days + 1 if took is None else took
    # A detection after it was over, and after the error was normal again, is about something else.
    passed = (incident.until or since) + timedelta(days=measures.SEARCH_DAYS)
    normal = since + timedelta(days=lasted)
    end = last if took is None else min(last, max(passed, normal))
    noticed = _noticed(incident, end, replayed, days, complaints)
    return IncidentResult(
        kind=incident.kind,
        since=since,
        days_to_notice=(noticed[0].on - since).days if noticed else None,
        noticed_by=noticed[1] if noticed else None,
        done=_done(incident, noticed[0] if noticed else None, min(normal, last), replayed),
        days_to_recover=lasted,
        recovered=took is not None,
        bad_hours=_bad_hours(replayed, measures.times_normal(days, oracle), since, normal),
    )


def _last_day(story: Story, incident: Incident) -> date:
    later = [each.since for each in story.incidents if each.since > incident.since]
    return min(later) - timedelta(days=1) if later else story.end


def _noticed(
    incident: Incident, end: date, replayed: ReplayResult, days: pd.DataFrame, complaints: Complaints
) -> tuple[Event, str] | None:
    """Who detected it first, after its first day and until `end`: the level itself, or its users."""
    found = [*_own_notices(incident, replayed), *_complaint(incident, end, days, complaints)]
    inside = [each for each in found if incident.since < each[0].on <= end]
    return min(inside, key=lambda each: each[0].on, default=None)


def _own_notices(incident: Incident, replayed: ReplayResult) -> list[tuple[Event, str]]:
    # What is done on a morning knows the days before it: the incident's first day is seen on the second.
    found = [
        (Event(on=step.on, kind="refused", says=f"{step.id}: {step.refused}"), f"gate of {step.id}")
        for step in replayed.steps
        if step.refused is not None
    ]
    found += [(event, "watch") for event in _rolled_back(replayed)]
    found += [
        (_noticed_event(each), f"loop: {each['kind']} of {each['subject']}")
        for each in replayed.reported.get("incidents", ())
        if each["kind"] in SEEN_AS.get(incident.kind, ())
    ]
    return found


def _complaint(
    incident: Incident, end: date, days: pd.DataFrame, complaints: Complaints
) -> list[tuple[Event, str]]:
    """When users would complain (an assumption); empty if they would not."""
    before = days.loc[incident.since - FOUR_WEEKS : incident.since - timedelta(days=1)]
    if before.empty:
        return []
    usual = measures.mean_error(before)
    sums = days.rolling(measures.DAYS).sum()
    error = (sums["error"] / sums["hours"]).loc[incident.since : end]
    long = (error > complaints.times * usual).rolling(complaints.days).sum() == complaints.days
    if not long.any():
        return []
    day = cast(date, long.idxmax())
    says = (
        f"Users complain: for {complaints.days} days the error of a week has been more than"
        f" {complaints.times:g} times the {usual:.1f} bikes an hour of the preceding four weeks."
    )
    return [(Event(on=day, kind="noticed", says=says), USERS)]


def _done(
    incident: Incident, noticed: Event | None, until: date, replayed: ReplayResult
) -> tuple[Event, ...]:
    """What was done between detection and recovery; without detection, what was done anyway."""
    begin = noticed.on if noticed else incident.since + timedelta(days=1)
    events = [event for event in (*replayed.events, *_rolled_back(replayed)) if begin <= event.on <= until]
    events += [
        Event(on=day_of(each["at"]), kind="acted", says=each["response"])
        for own in replayed.reported.get("incidents", ())
        if own["kind"] in SEEN_AS.get(incident.kind, ()) and day_of(own["detected_at"]) >= begin
        for each in own["responses"]
        if day_of(each["at"]) <= until
    ]
    if noticed is not None and noticed not in events:
        events.insert(0, noticed)
    events.sort(key=lambda event: event.on)
    # Two alarms about one thing may have the same text on the same day.
    return tuple({(event.on, event.kind, event.says): event for event in events}.values())


def _bad_hours(replayed: ReplayResult, times: pd.Series, since: date, normal: date) -> int:
    bad = times[times > measures.WITHIN].loc[since : normal - timedelta(days=1)].index
    predicted = replayed.predictions["prediction"].notna()
    return int(predicted[replayed.predictions["timestamp"].dt.date.isin(set(bad))].sum())


def _rolled_back(replayed: ReplayResult) -> list[Event]:
    found = [(day_of(each["at"]), each["rolled_back"]) for each in replayed.reported.get("releases", ())]
    return [Event(on=on, kind="rolled back", says=f"version {bad}") for on, bad in found if bad]
