"""What is wrong with data that are right row by row: wrong units, nulls, implausible values, a feed that is
late or lacks hours, counts that cannot be. Each is told apart, with the hours that it is about.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from bike_demand.data.schema import Conditions, Hour
from bike_demand.data.table import iso
from bike_demand.data.target import target_of
from bike_demand.data.validate import BEFORE
from bike_demand.settings import Quality

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
TEMPERATURES = ("temp_c", "feels_like_c")
MEASURED = (*TEMPERATURES, "humidity", "windspeed_kmh")
FEED, COUNT = "feed", "count"  # what a finding is about, where it is no field
SPREAD_A_DAY = 1.0  # degrees by which a temperature may move further for each day without any that was right
NULLS, LEVEL_HOURS, LEVEL_DAYS = 3, 12, 14


@dataclass(frozen=True)
class Finding:
    """Something wrong: which check found it, with what (a field, "feed" or "count"), a sentence without the
    hours, and the hours, ascending. They are bad, or missing where the check is `gaps`. Does it go on?
    """

    check: str
    subject: str
    says: str
    hours: tuple[datetime, ...]
    goes_on: bool

    def __str__(self) -> str:
        first, last = iso(self.hours[0]), iso(self.hours[-1])
        return f"{self.says} ({first if first == last else f'{len(self.hours)} hours, {first} to {last}'})"


def inputs(rows: Sequence[Conditions], settings: Quality) -> list[Finding]:
    """What is wrong with the conditions of these rows (ascending), by field. At most one finding for a hour
    of a field: a temperature in another unit is not said to be implausible, too.
    """
    found: list[Finding] = []
    for name in MEASURED:
        bad: set[datetime] = set()
        for check, (says, hours) in (
            ("units", _units(rows, name, settings.units.jump_c) if name in TEMPERATURES else ("", [])),
            ("nulls", _nulls(rows, name, settings.nulls.share)),
            ("ranges", _ranges(rows, name, getattr(settings.ranges, name))),
        ):
            left = tuple(hour for hour in hours if hour not in bad)
            if left:
                bad |= set(left)
                found.append(Finding(check, name, says, left, left[-1] > rows[-1].timestamp - DAY))
    return found


def arrival(rows: Sequence[Conditions], settings: Quality, now: datetime) -> list[Finding]:
    """Whether the feed's rows (ascending, at least one) came in time, by `now`."""
    last = rows[-1].timestamp
    age = (now - (last + HOUR)) // HOUR
    for check, what in (("stale", "is stale"), ("late", "is late")):
        if age > getattr(settings, check).hours:
            return [
                Finding(check, FEED, f"the feed {what}: its last hour ended {age} hours ago", (last,), True)
            ]
    return []


def gaps(rows: Sequence[Conditions], asked: Sequence[datetime], settings: Quality) -> list[Finding]:
    """Whether hours of the feed are missing between its rows (ascending, at least one).

    `asked` are hours that the application knows of. In a day with some of these, only they can be missing: an
    hour without any rental has no row. In other days all can.
    """
    rule = settings.gaps
    missing, goes_on = _gaps(rows, asked, rule.days, rule.share)
    if not missing:
        return []
    says = f"hours of the feed are missing, more than {rule.share:.0%} in {rule.days} days"
    return [Finding("gaps", FEED, says, tuple(missing), goes_on)]


def targets(
    rows: Sequence[Hour],
    known: Mapping[datetime, int],
    expected: Mapping[datetime, float],
    settings: Quality,
) -> list[Finding]:
    """Days of the feed (ascending) whose counts are wrong: against what the application was told (`known`)
    or, where that is too little, far from the level of the days before and from the `expected` predictions.

    Of a wrong day all hours are bad that the application was not told the same of.
    """
    by_day: dict[date, list[Hour]] = {}
    for row in rows:
        by_day.setdefault(row.timestamp.date(), []).append(row)
    good: deque[dict[int, int]] = deque(maxlen=LEVEL_DAYS)
    differing: list[datetime] = []
    implausible: list[datetime] = []
    worst, level = (0, 0), ""
    for day, its in by_day.items():
        both = [(row.count, known[row.timestamp]) for row in its if row.timestamp in known]
        bad = [row.timestamp for row in its if row.count != known.get(row.timestamp)]
        if 2 * len(both) >= len(its):
            rule = settings.counts
            wrong = [pair for pair in both if abs(pair[0] - pair[1]) > max(rule.bikes, rule.differ * pair[1])]
            if len(wrong) >= rule.hours:
                differing += bad
                worst = max(worst, *wrong, key=lambda pair: abs(pair[0] - pair[1]))
                continue
        elif (said := _level(its, good, expected, settings.level.factor)) is not None:
            implausible += bad
            level = level or f"{said} on {day}"
            continue
        good.append({row.timestamp.hour: row.count for row in its})
    found: list[Finding] = []
    newest = rows[-1].timestamp - DAY
    if differing:
        says = f"counts of the feed are not what was told here, as {worst[0]} instead of {worst[1]}"
        found.append(Finding("counts", COUNT, says, tuple(differing), differing[-1] > newest))
    if implausible:
        says = f"counts of the feed are implausible: {level}"
        found.append(Finding("level", COUNT, says, tuple(implausible), implausible[-1] > newest))
    return found


def _units(rows: Sequence[Conditions], name: str, jump: float) -> tuple[str, list[datetime]]:
    """Hours whose temperature is further than `jump` from those of the day before, if these are believed.

    Weather does not change that fast, a unit does. What is degrees Fahrenheit by mistake tells the
    temperature all the same, so that what comes after ten days of it is not compared with how warm it was
    before.
    """
    believed: deque[float] = deque(maxlen=BEFORE)
    since: datetime | None = None
    wrong: list[datetime] = []
    example = ""
    for row in rows:
        value: float = getattr(row, name)
        if not believed or since is None:
            believed.append(value)
            since = row.timestamp
            continue
        low, high = min(believed), max(believed)
        allowed = jump + SPREAD_A_DAY * max(0, (row.timestamp - since) // DAY)
        celsius = (value - 32) / 1.8
        as_told, converted = max(low - value, value - high, 0.0), max(low - celsius, celsius - high, 0.0)
        ongoing = bool(wrong) and row.timestamp - wrong[-1] <= DAY
        if as_told <= allowed and not (ongoing and converted < as_told):
            believed.append(value)
            since = row.timestamp
            continue
        example = example or f"{value:g} after {believed[-1]:g} degrees C"
        wrong.append(row.timestamp)
        if converted <= allowed:
            believed.append(celsius)
            since = row.timestamp
    return f"{name} changes its unit: {example}", wrong


def _nulls(rows: Sequence[Conditions], name: str, share: float) -> tuple[str, list[datetime]]:
    """The hours without a value in days that lack so many, where it was told in the week before."""
    told: deque[bool] = deque(maxlen=7 * 24)
    by_day: dict[date, list[Conditions]] = {}
    for row in rows:
        by_day.setdefault(row.timestamp.date(), []).append(row)
    found: list[datetime] = []
    for its in by_day.values():
        absent = [row.timestamp for row in its if getattr(row, name) is None]
        usual = 1 - sum(told) / len(told) if told else 1.0
        if len(absent) >= max(NULLS, share * len(its)) and usual < share / 2:
            found += absent
        else:
            told.extend(getattr(row, name) is not None for row in its)
    return f"{name} is not told any more", found


def _ranges(
    rows: Sequence[Conditions], name: str, plausible: tuple[float, float]
) -> tuple[str, list[datetime]]:
    low, high = plausible
    wrong = [
        (row.timestamp, value)
        for row in rows
        if (value := getattr(row, name)) is not None and not low <= value <= high
    ]
    said = f"{name} is implausible: {wrong[0][1]:g}, not {low:g} to {high:g}" if wrong else ""
    return said, [hour for hour, _ in wrong]


def _gaps(
    rows: Sequence[Conditions], asked: Sequence[datetime], days: int, share: float
) -> tuple[list[datetime], bool]:
    """The hours missing in stretches of so many days that lack too many, and whether the last one does."""
    there = {row.timestamp for row in rows}
    of_day: dict[date, set[datetime]] = {}
    for hour in asked:
        of_day.setdefault(hour.date(), set()).add(hour)
    first = rows[0].timestamp
    hours = [first + number * HOUR for number in range((rows[-1].timestamp - first) // HOUR + 1)]
    absent = [
        hour not in there and (hour.date() not in of_day or hour in of_day[hour.date()]) for hour in hours
    ]
    width = days * 24
    if len(hours) < width:
        return [], False
    found: set[datetime] = set()
    lost, flagged = sum(absent[:width]), False
    for end in range(width, len(hours) + 1):
        if end > width:
            lost += absent[end - 1] - absent[end - 1 - width]
        flagged = lost > share * width
        if flagged:
            found |= {hours[at] for at in range(end - width, end) if absent[at]}
    return sorted(found), flagged


def _level(
    its: Sequence[Hour],
    good: Sequence[Mapping[int, int]],
    expected: Mapping[datetime, float],
    factor: float,
) -> str | None:
    """What is wrong with the level of a day, by the days before and by the predictions; None: it may be."""
    if len(its) < LEVEL_HOURS or len(good) < LEVEL_DAYS // 2:
        return None
    usual = {
        hour: sum(counts) / len(counts)
        for hour in range(24)
        if (counts := [day[hour] for day in good if hour in day])
    }
    total = sum(row.count for row in its if row.timestamp.hour in usual)
    yardsticks = [sum(usual.get(row.timestamp.hour, 0.0) for row in its)]
    predicted = [row for row in its if row.timestamp in expected]
    if 2 * len(predicted) >= len(its):
        scale = total / max(1, sum(target_of(row.count) for row in predicted))
        yardsticks.append(scale * sum(expected[row.timestamp] for row in predicted))
    if all(total > factor * each for each in yardsticks) or all(factor * total < each for each in yardsticks):
        return f"{total} bikes where {yardsticks[0]:.0f} are usual"
    return None
