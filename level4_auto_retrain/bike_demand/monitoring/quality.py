"""What is wrong with what is asked and with the gathered feed, as signals: one for each field."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from bike_demand.data.quality import Finding
from bike_demand.data.table import iso
from bike_demand.prediction_log.event_log import Kind, Signal

REQUESTS, FEED = "requests", "feed"  # where it is found
PLACES = {REQUESTS: "in requests", FEED: "in the feed"}


@dataclass(frozen=True)
class Found:
    """A finding, and where it was made."""

    where: str
    finding: Finding


def signals(found: Sequence[Found], now: datetime) -> list[Signal]:
    """One signal for each subject with something wrong that goes on; what is over raises none."""
    by_subject: dict[str, list[Found]] = {}
    for each in found:
        if each.finding.goes_on:
            by_subject.setdefault(each.finding.subject, []).append(each)
    return [_signal(subject, its, now) for subject, its in by_subject.items()]


def by_day(findings: Sequence[Finding]) -> dict[date, dict[str, dict[str, int]]]:
    """How many hours of each day were wrong: {day: {field: {check: hours}}}."""
    found: dict[date, dict[str, dict[str, int]]] = {}
    for each in findings:
        for hour in each.hours:
            checks = found.setdefault(hour.date(), {}).setdefault(each.subject, {})
            checks[each.check] = checks.get(each.check, 0) + 1
    return found


def _signal(subject: str, its: Sequence[Found], now: datetime) -> Signal:
    first = its[0]
    places = list(dict.fromkeys(PLACES[each.where] for each in its))
    # What the feed is, is said by the sentence itself.
    where = "" if subject == FEED else f" {' and '.join(places)}"
    others = [
        f"{each.finding.check}: {each.finding}" for each in its if each.finding.check != first.finding.check
    ]
    says = f"{first.finding}{where}{'; ' if others else ''}{'; '.join(others)}."
    return Signal(
        Kind.QUALITY,
        subject,
        now,
        says[0].upper() + says[1:] if subject == FEED else says,
        {
            "check": first.finding.check,
            "since": iso(min(each.finding.hours[0] for each in its)),
            "until": iso(max(each.finding.hours[-1] for each in its)),
            "hours": {
                place: len({hour for each in its if each.where == place for hour in each.finding.hours})
                for place in dict.fromkeys(each.where for each in its)
            },
        },
    )
