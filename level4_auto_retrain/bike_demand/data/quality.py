"""Data quality: rules that rows have to keep, each with a name and a switch under `quality` in params.yaml.

Types, valid ranges and duplicates are checked row by row when rows are read (`data.schema`, `data.month`).
Here is what only shows across rows: a unit that changes, nulls, implausible values, missing hours.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from bike_demand.data.schema import Conditions, Hour
from bike_demand.data.table import iso
from bike_demand.errors import UserError
from bike_demand.files import write_atomically
from bike_demand.settings import REPORTS, QualityRules, Settings

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FEED, COUNT = "feed", "count"  # what a violation is about, where it is no input field
RECENT = 35 * DAY  # a violation before is not reported again: an earlier training checked these rows
SPREAD_A_DAY = 1.0  # degrees by which a temperature may move further for each day without a plausible one
LEAST_NULLS = 3
Row = TypeVar("Row", bound=Conditions)
NOTHING: Mapping[datetime, int] = MappingProxyType({})


class Violation(BaseModel):
    """A rule that rows break. `hours`, ascending, are the bad ones or, for `gaps`, those that are missing.

    `subject` is an input field, "feed" or "count", `ongoing` whether the newest rows break it too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    subject: str
    message: str  # without the hours
    hours: tuple[datetime, ...]
    ongoing: bool

    def __str__(self) -> str:
        first, last = iso(self.hours[0]), iso(self.hours[-1])
        return f"{self.message} ({first if first == last else f'{len(self.hours)} hours, {first} to {last}'})"


def check(
    rows: Sequence[Hour], rules: QualityRules, known: Mapping[datetime, int] = NOTHING
) -> list[Violation]:
    """What breaks a rule in gathered rows (ascending, at least one). `known`: counts from another source."""
    return [*inputs(rows, rules), *gaps(rows, rules, known)]


def require_fit(
    rows: Sequence[Hour], violations: Sequence[Violation], settings: Settings, as_of: datetime | None
) -> None:
    """Raises UserError where rows (ascending, at least one) have recent violations, or are stale by `as_of`
    or by the clock of `settings`; a report in state/reports then has each hour.
    """
    report = REPORTS / "validation.json"
    now = datetime.now() if as_of is None and settings.clock == "wall" else as_of
    recent = [each for each in violations if each.hours[-1] > rows[-1].timestamp - RECENT]
    recent += stale(rows, settings.quality, now)
    if not recent:
        report.unlink(missing_ok=True)
        return
    content = [{"what": each.message, "hours": [iso(hour) for hour in each.hours]} for each in recent]
    write_atomically(report, (json.dumps(content, indent=1) + "\n").encode())
    raise UserError(
        f"the data are not fit for training: {'; '.join(map(str, recent))}; nothing was trained, have the"
        f" feed corrected ({report.as_posix()} has every hour)"
    )


def inputs(rows: Sequence[Conditions], rules: QualityRules) -> list[Violation]:
    """The rules `units`, `nulls` and `ranges` on input fields (rows ascending).

    An hour of a field has at most one violation: a temperature in another unit is not implausible, too.
    """
    if not rows:
        return []
    found: list[Violation] = []
    for name in Conditions.model_fields:
        seen: set[datetime] = set()
        for rule, (message, hours) in _of_field(rows, name, rules):
            bad = tuple(hour for hour in hours if hour not in seen)
            if bad:
                seen |= set(bad)
                found.append(_violation(rule, name, message, bad, rows))
    return found


def stale(rows: Sequence[Conditions], rules: QualityRules, now: datetime | None) -> list[Violation]:
    """The rule `stale`: whether rows (ascending, at least one) came in time; without `now` they did."""
    if rules.stale is None or now is None:
        return []
    last = rows[-1].timestamp
    age = (now - last) // HOUR - 1
    if age <= rules.stale.hours:
        return []
    message = f"the feed is stale: its last hour ended {age} hours ago"
    return [Violation(rule="stale", subject=FEED, message=message, hours=(last,), ongoing=True)]


def gaps(
    rows: Sequence[Conditions], rules: QualityRules, known: Mapping[datetime, int] = NOTHING
) -> list[Violation]:
    """The rule `gaps`: stretches of days in which too many hours have no row (rows ascending, at least one).

    An hour without demand may have no row, so a share may be missing. In a day of which `known` has hours
    with demand, only these can be missing; in other days all can.
    """
    rule = rules.gaps
    if rule is None:
        return []
    there = {row.timestamp for row in rows}
    demanded: dict[date, set[datetime]] = {}
    for hour, count in known.items():
        if count:
            demanded.setdefault(hour.date(), set()).add(hour)
    first, width = rows[0].timestamp, rule.days * 24
    hours = [first + number * HOUR for number in range((rows[-1].timestamp - first) // HOUR + 1)]
    absent = [hour not in there and hour in demanded.get(hour.date(), (hour,)) for hour in hours]
    found: set[datetime] = set()
    lost, broken = 0, False
    for end, is_absent in enumerate(absent, start=1):
        lost += is_absent - (absent[end - 1 - width] if end > width else 0)
        if broken := lost > rule.share * width:
            found |= {hours[at] for at in range(max(0, end - width), end) if absent[at]}
    if not found:
        return []
    message = f"hours of the feed are missing, more than {rule.share:.0%} in {rule.days} days"
    return [Violation(rule="gaps", subject=FEED, message=message, hours=tuple(sorted(found)), ongoing=broken)]


def _violation(
    rule: str, subject: str, message: str, hours: tuple[datetime, ...], rows: Sequence[Conditions]
) -> Violation:
    ongoing = hours[-1] > rows[-1].timestamp - DAY
    return Violation(rule=rule, subject=subject, message=message, hours=hours, ongoing=ongoing)


def _of_field(
    rows: Sequence[Conditions], name: str, rules: QualityRules
) -> Iterator[tuple[str, tuple[str, list[datetime]]]]:
    """Rule, message and bad hours of a field, the most telling rule first."""
    if rules.units is not None and name in rules.units:
        yield "units", _units(rows, name, rules.units[name])
    if rules.nulls is not None and any(getattr(row, name) is None for row in rows):
        yield "nulls", _nulls(rows, name, rules.nulls.share)
    if rules.ranges is not None and name in rules.ranges:
        low, high = rules.ranges[name]
        wrong = [
            (row.timestamp, value)
            for row in rows
            if (value := getattr(row, name)) is not None and not low <= value <= high
        ]
        message = f"{name} is implausible: {wrong[0][1]:g}, not {low:g} to {high:g}" if wrong else ""
        yield "ranges", (message, [hour for hour, _ in wrong])


def _units(rows: Sequence[Conditions], name: str, jump: float) -> tuple[str, list[datetime]]:
    """Hours whose temperature is further than `jump` from the plausible ones of the 24 hours before.

    Weather does not change that fast, a unit does. Degrees Fahrenheit still carry the temperature: converted,
    they are what later hours are compared with, so that a season that moves on meanwhile breaks nothing.
    """
    plausible: deque[float] = deque(maxlen=24)
    since = rows[0].timestamp
    wrong: list[datetime] = []
    example = ""
    for row in rows:
        value: float = getattr(row, name)
        if not plausible:
            plausible.append(value)
            continue
        low, high = min(plausible), max(plausible)
        allowed = jump + SPREAD_A_DAY * max(0, (row.timestamp - since) // DAY)
        celsius = (value - 32) / 1.8
        distance, converted = max(low - value, value - high, 0.0), max(low - celsius, celsius - high, 0.0)
        in_stretch = bool(wrong) and row.timestamp - wrong[-1] <= DAY
        if distance <= allowed and not (in_stretch and converted < distance):
            plausible.append(value)
            since = row.timestamp
            continue
        example = example or f"{value:g} after {plausible[-1]:g} degrees C"
        wrong.append(row.timestamp)
        if converted <= allowed:
            plausible.append(celsius)
            since = row.timestamp
    return f"{name} changes its unit: {example}", wrong


def _nulls(rows: Sequence[Conditions], name: str, share: float) -> tuple[str, list[datetime]]:
    """The hours without a value in days that lack so many, where the week before had nearly all."""
    before: deque[bool] = deque(maxlen=7 * 24)
    found: list[datetime] = []
    for _, group in _by_day(rows):
        absent = [row.timestamp for row in group if getattr(row, name) is None]
        usual = before.count(False) / len(before) if before else 1.0
        if len(absent) >= max(LEAST_NULLS, share * len(group)) and usual < share / 2:
            found += absent
        else:
            before.extend(getattr(row, name) is not None for row in group)
    return f"{name} is missing", found


def _by_day(rows: Sequence[Row]) -> Iterator[tuple[date, list[Row]]]:
    days: dict[date, list[Row]] = {}
    for row in rows:
        days.setdefault(row.timestamp.date(), []).append(row)
    yield from days.items()
