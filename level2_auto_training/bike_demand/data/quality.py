"""Data quality: rules that rows have to keep, each with a name and a switch under `quality` in params.yaml.

Types, valid ranges and duplicates are checked row by row when rows are read (`problem.schema`, `data.month`).
Here is what only shows across rows: a unit that changes, nulls, implausible values, missing rows.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from bike_demand.core.current import CADENCE, FIELDS, LABEL, ROWS_A_DAY, Inputs, Row, label_of, time_of
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.core.problem import CONVERSIONS
from bike_demand.core.settings import REPORTS, QualityRules, Settings
from bike_demand.data.table import iso

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FEED, LABEL_SUBJECT = "feed", "label"  # what a violation is about, where it is no input field
RECENT = 35 * DAY  # a violation before is not reported again: an earlier training checked these rows
SPREAD = 1 / 12  # of the change in a day, by which a value may move further each day without a plausible one
LEAST_NULLS, LEVEL_DAYS = 3, 14
AnyRow = TypeVar("AnyRow", bound=Inputs)
NOTHING: Mapping[datetime, float] = MappingProxyType({})


class Violation(BaseModel):
    """A rule that rows break. `times`, ascending, are those of the bad rows or, for `gaps`, of missing ones.

    `subject` is an input field, "feed" or "label", `ongoing` whether the newest rows break it too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    subject: str
    message: str  # without the times
    times: tuple[datetime, ...]
    ongoing: bool

    def __str__(self) -> str:
        first, last = iso(self.times[0]), iso(self.times[-1])
        return f"{self.message} ({first if first == last else f'{len(self.times)} rows, {first} to {last}'})"


def check(
    rows: Sequence[Row], rules: QualityRules, known: Mapping[datetime, float] = NOTHING
) -> list[Violation]:
    """What breaks a rule in gathered rows (ascending, at least one). `known`: labels from another source."""
    return [*inputs(rows, rules), *gaps(rows, rules, known), *level(rows, rules, known)]


def require_fit(
    rows: Sequence[Row], violations: Sequence[Violation], settings: Settings, as_of: datetime | None
) -> None:
    """Raises UserError where rows (ascending, at least one) have recent violations, or are stale by `as_of`
    or by the clock of `settings`; a report in state/reports then has each row.
    """
    report = REPORTS / "validation.json"
    now = datetime.now() if as_of is None and settings.clock == "wall" else as_of
    recent = [
        each
        for each in violations
        if each.times[-1] > time_of(rows[-1]) - RECENT
        and not (each.subject in FIELDS and len(each.times) <= ROWS_A_DAY)  # an odd day spoils no training
    ]
    recent += stale(rows, settings.quality, now)
    if not recent:
        report.unlink(missing_ok=True)
        return
    content = [{"what": each.message, "times": [iso(moment) for moment in each.times]} for each in recent]
    write_atomically(report, (json.dumps(content, indent=1) + "\n").encode())
    raise UserError(
        f"the data are not fit for training: {'; '.join(map(str, recent))}; nothing was trained, have the"
        f" feed corrected ({report.as_posix()} has every row)"
    )


def inputs(rows: Sequence[Inputs], rules: QualityRules) -> list[Violation]:
    """The rules `units`, `nulls` and `ranges` on input fields (rows ascending).

    A value has at most one violation: a temperature in another unit is not implausible, too.
    """
    if not rows:
        return []
    found: list[Violation] = []
    for name in FIELDS:
        seen: set[datetime] = set()
        for rule, (message, times) in _of_field(rows, name, rules):
            bad = tuple(moment for moment in times if moment not in seen)
            if bad:
                seen |= set(bad)
                found.append(_violation(rule, name, message, bad, rows))
    return found


def stale(rows: Sequence[Inputs], rules: QualityRules, now: datetime | None) -> list[Violation]:
    """The rule `stale`: whether rows (ascending, at least one) came in time; without `now` they did."""
    if rules.stale is None or now is None:
        return []
    last = time_of(rows[-1])
    age = (now - last - CADENCE) // HOUR
    if age <= rules.stale.hours:
        return []
    message = f"the feed is stale: its last row ended {age} hours ago"
    return [Violation(rule="stale", subject=FEED, message=message, times=(last,), ongoing=True)]


def gaps(
    rows: Sequence[Inputs], rules: QualityRules, known: Mapping[datetime, float] = NOTHING
) -> list[Violation]:
    """The rule `gaps`: stretches of days in which too many rows are missing (rows ascending, at least one).

    What came to nothing may have no row, so a share may be missing. In a day of which `known` has labels
    above 0, only rows with such a label can be missing; in other days all can.
    """
    rule = rules.gaps
    if rule is None:
        return []
    there = {time_of(row) for row in rows}
    expected: dict[date, set[datetime]] = {}
    for moment, label in known.items():
        if label:
            expected.setdefault(moment.date(), set()).add(moment)
    first, width = time_of(rows[0]), rule.days * ROWS_A_DAY
    times = [first + number * CADENCE for number in range((time_of(rows[-1]) - first) // CADENCE + 1)]
    absent = [moment not in there and moment in expected.get(moment.date(), (moment,)) for moment in times]
    found: set[datetime] = set()
    lost, broken = 0, False
    for end, is_absent in enumerate(absent, start=1):
        lost += is_absent - (absent[end - 1 - width] if end > width else 0)
        if broken := lost > rule.share * width:
            found |= {times[at] for at in range(max(0, end - width), end) if absent[at]}
    if not found:
        return []
    message = f"rows of the feed are missing, more than {rule.share:.0%} in {rule.days} days"
    return [Violation(rule="gaps", subject=FEED, message=message, times=tuple(sorted(found)), ongoing=broken)]


def level(
    rows: Sequence[Row], rules: QualityRules, known: Mapping[datetime, float] = NOTHING
) -> list[Violation]:
    """The rule `level`: days whose labels are many times, or a small part of, those of two weeks before.

    It presumes a steady level, so it is off unless asked for: a business that closes for a day breaks it.
    Days of which `known` has half of the rows are not judged.
    """
    if rules.level is None:
        return []
    factor = rules.level.factor
    good: deque[dict[time, float]] = deque(maxlen=LEVEL_DAYS)
    bad: list[datetime] = []
    message = ""
    for day, group in _by_day(rows):
        labels = {time_of(row).time(): known.get(time_of(row), label_of(row)) for row in group}
        is_known = 2 * sum(time_of(row) in known for row in group) >= len(group)
        if not is_known and 2 * len(group) >= ROWS_A_DAY and len(good) >= LEVEL_DAYS // 2:
            usual = {
                at: sum(before) / len(before)
                for at in labels
                if (before := [each[at] for each in good if at in each])
            }
            total, expected = sum(labels[at] for at in usual), sum(usual.values())
            if total > factor * expected or factor * total < expected:
                message = (
                    message or f"{LABEL} is implausible: {total:g} where {expected:.0f} is usual on {day}"
                )
                bad += [time_of(row) for row in group]
                continue
        good.append(labels)
    return [_violation("level", LABEL_SUBJECT, message, tuple(bad), rows)] if bad else []


def _violation(
    rule: str, subject: str, message: str, times: tuple[datetime, ...], rows: Sequence[Inputs]
) -> Violation:
    ongoing = times[-1] > time_of(rows[-1]) - DAY
    return Violation(rule=rule, subject=subject, message=message, times=times, ongoing=ongoing)


def _of_field(
    rows: Sequence[Inputs], name: str, rules: QualityRules
) -> Iterator[tuple[str, tuple[str, list[datetime]]]]:
    """Rule, message and bad times of a field, the most telling rule first."""
    if rules.units is not None and name in rules.units:
        yield "units", _units(rows, name, rules.units[name])
    if rules.nulls is not None and any(getattr(row, name) is None for row in rows):
        yield "nulls", _nulls(rows, name, rules.nulls.share)
    if rules.ranges is not None and name in rules.ranges:
        low, high = rules.ranges[name]
        wrong = [
            (time_of(row), value)
            for row in rows
            if (value := getattr(row, name)) is not None and not low <= value <= high
        ]
        message = f"{name} is implausible: {wrong[0][1]:g}, not {low:g} to {high:g}" if wrong else ""
        yield "ranges", (message, [moment for moment, _ in wrong])


def _units(rows: Sequence[Inputs], name: str, change: float) -> tuple[str, list[datetime]]:
    """Times whose value is further than `change` from the plausible ones of the day before.

    The value does not change that fast, a unit does. In the other unit it still carries what was measured:
    converted, it is what later rows are compared with, so that a season that moves on breaks nothing.
    """
    plausible: deque[float] = deque(maxlen=ROWS_A_DAY)
    convert = CONVERSIONS[FIELDS[name].unit]
    since = time_of(rows[0])
    wrong: list[datetime] = []
    example = ""
    for row in rows:
        value: float = getattr(row, name)
        if not plausible:
            plausible.append(value)
            continue
        low, high = min(plausible), max(plausible)
        allowed = change * (1 + SPREAD * max(0, (time_of(row) - since) // DAY))
        right = convert(value)
        distance, converted = max(low - value, value - high, 0.0), max(low - right, right - high, 0.0)
        in_stretch = bool(wrong) and time_of(row) - wrong[-1] <= DAY
        if distance <= allowed and not (in_stretch and converted < distance):
            plausible.append(value)
            since = time_of(row)
            continue
        example = example or f"{value:g} after {plausible[-1]:g} {FIELDS[name].unit}"
        wrong.append(time_of(row))
        if converted <= allowed:
            plausible.append(right)
            since = time_of(row)
    return f"{name} changes its unit: {example}", wrong


def _nulls(rows: Sequence[Inputs], name: str, share: float) -> tuple[str, list[datetime]]:
    """The times without a value in days that lack so many, where the week before had nearly all."""
    before: deque[bool] = deque(maxlen=7 * ROWS_A_DAY)
    found: list[datetime] = []
    for _, group in _by_day(rows):
        absent = [time_of(row) for row in group if getattr(row, name) is None]
        usual = before.count(False) / len(before) if before else 1.0
        if len(absent) >= max(LEAST_NULLS, share * len(group)) and usual < share / 2:
            found += absent
        else:
            before.extend(getattr(row, name) is not None for row in group)
    return f"{name} is missing", found


def _by_day(rows: Sequence[AnyRow]) -> Iterator[tuple[date, list[AnyRow]]]:
    days: dict[date, list[AnyRow]] = {}
    for row in rows:
        days.setdefault(time_of(row).date(), []).append(row)
    yield from days.items()
