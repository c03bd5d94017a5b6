"""Data quality: rules that rows have to keep, each with a name and a switch under `quality` in params.yaml.

Types, valid ranges and duplicates are checked when files are read (`problem.schema`, `data.table`).
Here is what only shows across rows: a unit that changes, nulls, implausible values, missing rows.
"""

import json
import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, time, timedelta
from itertools import repeat
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict

from bike_demand.core.current import CADENCE, FIELDS, KEYS, LABEL, TIME, RowId, clock_time
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.core.problem import DAY, Floats
from bike_demand.core.settings import REPORTS, QualityRules, Settings
from bike_demand.data.frames import by_key, end, keys_of, moments, period, row_ids, rows_a_day
from bike_demand.data.month import iso

HOUR = timedelta(hours=1)
REPORT = REPORTS / "validation.json"  # of data that are not fit for training
FEED, LABEL_SUBJECT = "feed", "label"  # what a violation is about, where it is no input field
RECENT = 35 * DAY  # a violation before is not reported again: an earlier training checked these rows
WEEK_DAYS = 7
SPREAD = 1 / 12  # of the change in a day, by which a value may move further each day without a plausible one
LEAST, LEVEL_DAYS = 3, 14
Mask = npt.NDArray[np.bool_]
NOTHING: Mapping[RowId, float] = MappingProxyType({})


class Violation(BaseModel):
    """A rule that rows break. `times`, ascending, are those of the bad rows or, for `gaps`, of missing ones;
    `keys` has the key of each, or is empty where the problem has none.

    `subject` is an input field, "feed" or "label", `ongoing` whether the newest rows break it too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    subject: str
    message: str  # without the times
    times: tuple[datetime, ...]
    keys: tuple[str, ...] = ()
    ongoing: bool

    @property
    def rows(self) -> list[RowId]:
        """Event time and key of each row."""
        return list(zip(self.times, self.keys or repeat(""), strict=False))

    def __str__(self) -> str:
        first, last = iso(self.times[0]), iso(self.times[-1])
        return f"{self.message} ({first if first == last else f'{len(self.times)} rows, {first} to {last}'})"


def check(rows: pd.DataFrame, rules: QualityRules, known: Mapping[RowId, float] = NOTHING) -> list[Violation]:
    """What breaks a rule in gathered rows (ascending, at least one). `known`: labels from another source."""
    return [*inputs(rows, rules), *gaps(rows, rules, known), *level(rows, rules, known)]


def require_fit(
    rows: pd.DataFrame, violations: Sequence[Violation], settings: Settings, as_of: datetime | None
) -> None:
    """Raises UserError where rows (ascending, at least one) have recent violations, or are stale by `as_of`
    or by the clock of `settings`; a report in state/reports then has each row.
    """
    recent = [
        each
        for each in violations
        if each.times[-1] > period(rows)[1] - RECENT
        and not (
            each.subject in FIELDS and len(each.times) <= rows_a_day(rows)
        )  # an odd day spoils no training
    ]
    recent += stale(rows, settings.quality, checked_at(settings, as_of))
    if not recent:
        REPORT.unlink(missing_ok=True)
        return
    content = [{"what": each.message, "times": [iso(moment) for moment in each.times]} for each in recent]
    write_atomically(REPORT, (json.dumps(content, indent=1) + "\n").encode())
    raise UserError(
        f"the data are not fit for training: {'; '.join(map(str, recent))}; nothing was trained, have the"
        f" feed corrected ({REPORT.as_posix()} has every row; see docs: troubleshooting, data-not-fit)"
    )


def inputs(rows: pd.DataFrame, rules: QualityRules) -> list[Violation]:
    """The rules `units`, `nulls`, `texts` and `ranges` on input fields (rows ascending).

    A value has at most one violation: a temperature in another unit is not implausible, too.
    """
    found: list[Violation] = []
    for name in FIELDS if len(rows) else ():
        seen = np.zeros(len(rows), dtype=bool)
        for rule, message, bad in _of_field(rows, name, rules):
            found += violations(rule, name, message, rows, bad & ~seen)
            seen |= bad
    return found


def checked_at(settings: Settings, as_of: datetime | None) -> datetime | None:
    """When the data have to be up to date: `as_of`, else by the clock of `settings`; None: no matter when."""
    return clock_time() if as_of is None and settings.clock == "wall" else as_of


def stale(rows: pd.DataFrame, rules: QualityRules, now: datetime | None) -> list[Violation]:
    """The rule `stale`: whether rows (ascending, at least one) came in time; without `now` they did."""
    if rules.stale is None or now is None:
        return []
    last = period(rows)[1]
    age = (now - end(rows)) // HOUR
    # Events that come once a month, say, are not late after two days.
    pauses = rows[TIME].drop_duplicates().diff().dt.total_seconds() / 3600
    pause = pauses.median() if CADENCE is None else 0
    if age <= max(rules.stale.hours, 1.5 * pause):
        return []
    message = f"the feed is stale: its last row ended {age} hours ago"
    return [Violation(rule="stale", subject=FEED, message=message, times=(last,), ongoing=True)]


def gaps(rows: pd.DataFrame, rules: QualityRules, known: Mapping[RowId, float] = NOTHING) -> list[Violation]:
    """The rule `gaps`: stretches of days in which too many rows of a key are missing (rows ascending, at
    least one). Events have no gaps.

    What came to nothing may have no row, so a share may be missing. In a day of which `known` has labels
    above 0, only rows with such a label can be missing; in other days all can.
    """
    rule = rules.gaps
    if rule is None or CADENCE is None:
        return []
    last, keys = period(rows)[1], keys_of(rows)
    width = rule.days * (DAY // CADENCE)
    reported: dict[str, list[datetime]] = defaultdict(list)
    for (moment, key), label in known.items():
        if label:
            reported[key].append(moment)
    missing: list[RowId] = []
    ongoing = False
    for chosen in by_key(rows):
        key, present = keys.iloc[chosen[0]], rows[TIME].iloc[chosen]
        times = pd.date_range(present.iloc[0], last, freq=CADENCE)
        labelled = pd.DatetimeIndex(reported[key])
        absent = ~times.isin(present)
        absent &= times.isin(labelled) | ~times.normalize().isin(labelled.normalize())
        lost = np.concatenate([np.zeros(width), np.cumsum(absent)])  # so many until each time
        broken = lost[width:] - lost[:-width] > rule.share * width  # in the days that end with it
        ends = np.concatenate([[0], np.cumsum(broken), np.full(width - 1, broken.sum())])
        bad = absent & (ends[width:] > ends[:-width])  # it lies in such days
        missing += [(moment, key) for moment in times[bad].to_pydatetime().tolist()]
        ongoing |= bool(broken[-1])
    if not missing:
        return []
    message = f"rows of the feed are missing, more than {rule.share:.0%} in {rule.days} days"
    return [_violation("gaps", FEED, message, sorted(missing), ongoing)]


def level(rows: pd.DataFrame, rules: QualityRules, known: Mapping[RowId, float] = NOTHING) -> list[Violation]:
    """The rule `level`: days whose labels are many times, or a small part of, those of two weeks before.

    It presumes a steady level, so it is off unless asked for: a business that closes for a day breaks it.
    Days of which `known` has half of the rows are not judged.
    """
    if rules.level is None:
        return []
    factor = rules.level.factor
    good: deque[dict[time, float]] = deque(maxlen=LEVEL_DAYS)
    bad = np.zeros(len(rows), dtype=bool)
    message = ""
    moment, reported = moments(rows), known_labels(rows, known)
    value = np.where(np.isnan(reported), rows[LABEL].to_numpy(np.float64), reported)
    complete = rows_a_day(rows)
    for day in days_of(rows):
        labels = _by_time([moment[at].time() for at in day], value[day])
        is_known = 2 * int((~np.isnan(reported[day])).sum()) >= len(day)
        if not is_known and 2 * len(day) >= complete and len(good) >= LEVEL_DAYS // 2:
            usual = {
                at: sum(before) / len(before)
                for at in labels
                if (before := [each[at] for each in good if at in each])
            }
            total, expected = sum(labels[at] for at in usual), sum(usual.values())
            if total > factor * expected or factor * total < expected:
                message = message or (
                    f"{LABEL} is implausible: {total:g} where {expected:.0f} is usual on"
                    f" {moment[day[0]].date()}"
                )
                bad[day] = True
                continue
        good.append(labels)
    return violations("level", LABEL_SUBJECT, message, rows, bad)


def _by_time(times: Sequence[time], values: Floats) -> dict[time, float]:
    """The mean of what is known at each time of a day."""
    means = pd.Series(values).groupby(list(times)).mean().dropna()
    return dict(zip(means.index, means.tolist(), strict=True))


def known_labels(rows: pd.DataFrame, known: Mapping[RowId, float]) -> Floats:
    """The labels of rows from another source, shape [rows]; NaN where it has none."""
    if not known:
        return np.full(len(rows), np.nan)
    return np.array([known.get(each, np.nan) for each in row_ids(rows)], dtype=np.float64)


def days_of(rows: pd.DataFrame) -> list[npt.NDArray[np.int64]]:
    """The positions of the rows of each day (rows ascending)."""
    days = rows[TIME].to_numpy("datetime64[D]")
    return np.split(np.arange(len(rows)), np.flatnonzero(days[1:] != days[:-1]) + 1)


def violations(rule: str, subject: str, message: str, rows: pd.DataFrame, bad: Mask) -> list[Violation]:
    """The violation of these bad rows; none where there is no bad row."""
    found = row_ids(rows[bad])
    if not found:
        return []
    return [_violation(rule, subject, message, found, found[-1][0] > period(rows)[1] - DAY)]


def _violation(rule: str, subject: str, message: str, rows: Sequence[RowId], ongoing: bool) -> Violation:
    times, keys = zip(*rows, strict=True)
    return Violation(
        rule=rule, subject=subject, message=message, times=times, keys=keys if KEYS else (), ongoing=ongoing
    )


def _of_field(rows: pd.DataFrame, name: str, rules: QualityRules) -> Iterator[tuple[str, str, Mask]]:
    """Rule, message and bad rows of a field, the most telling rule first."""
    absent = rows[name].isna().to_numpy()
    if rules.units is not None and name in rules.units:
        wrong, example = np.zeros(len(rows), dtype=bool), ""
        for chosen in by_key(rows):
            wrong[chosen], what = _units(rows.iloc[chosen], name, rules.units[name])
            example = example or what
        yield "units", f"{name} changes its unit: {example}", wrong
    if rules.nulls is not None and absent.any():
        yield "nulls", f"{name} is missing", _nulls(rows, absent, rules.nulls.share)
    if rules.texts is not None and FIELDS[name].kind == "text" and name not in KEYS:
        wrong, example = _unseen(rows, name, rules.texts.share)
        yield "texts", f"{name} has values that it never had: {example}", wrong
    if rules.ranges is not None and name in rules.ranges:
        low, high = rules.ranges[name]
        values = rows[name].to_numpy(np.float64)
        wrong = ~absent & ~((low <= values) & (values <= high))
        example = f"{values[wrong.argmax()]:g}, not {low:g} to {high:g}"
        yield "ranges", f"{name} is implausible: {example}", wrong


def _units(rows: pd.DataFrame, name: str, change: float) -> tuple[Mask, str]:
    """Rows of a key whose value is further than `change` from the plausible ones of the day before, and an
    example.

    The value does not change that fast, a unit does. In the other unit it still carries what was measured:
    converted, it is what later rows are compared with, so that a season that moves on breaks nothing.
    """
    values, day = rows[name].dropna(), rows_a_day(rows)
    before = values.rolling(day, min_periods=1)
    far = np.maximum(before.min().shift() - values, values - before.max().shift()) > change
    if not far.any():  # as in nearly all feeds: then none has to be checked by itself
        return np.zeros(len(rows), dtype=bool), ""
    plausible: deque[float] = deque(maxlen=day)
    convert = FIELDS[name].convert or float
    wrong = np.zeros(len(rows), dtype=bool)
    since = last_wrong = datetime.min
    example = ""
    for at, (moment, value) in enumerate(zip(moments(rows), rows[name].tolist(), strict=True)):
        if math.isnan(value):
            continue
        if not plausible:
            plausible.append(value)
            since = moment
            continue
        low, high = min(plausible), max(plausible)
        allowed = change * (1 + SPREAD * max(0, (moment - since) // DAY))
        right = convert(value)
        distance, converted = max(low - value, value - high, 0.0), max(low - right, right - high, 0.0)
        in_stretch = moment - last_wrong <= DAY
        if distance <= allowed and not (in_stretch and converted < distance):
            plausible.append(value)
            since = moment
            continue
        example = example or f"{value:g} after {plausible[-1]:g} {FIELDS[name].unit}"
        wrong[at], last_wrong = True, moment
        if converted <= allowed:
            plausible.append(right)
            since = moment
    return wrong, example


def _nulls(rows: pd.DataFrame, absent: Mask, share: float) -> Mask:
    """The rows without a value in days that lack so many, where the week before had nearly all."""
    before: deque[tuple[int, int]] = deque(maxlen=WEEK_DAYS)  # of so many rows of a day, so many are null
    found = np.zeros(len(rows), dtype=bool)
    for day in days_of(rows):
        nulls = int(absent[day].sum())
        usual = sum(some for some, _ in before) / sum(rows for _, rows in before) if before else 1.0
        if nulls >= max(LEAST, share * len(day)) and usual < share / 2:
            found[day] = absent[day]
        else:
            before.append((nulls, len(day)))
    return found


def _unseen(rows: pd.DataFrame, name: str, share: float) -> tuple[Mask, str]:
    """The rows of days of which so many have texts that no good row had before, and an example.

    A new value now and then is normal. Where nearly each row has one, as in names, so are many.
    """
    before: deque[tuple[int, int]] = deque(maxlen=WEEK_DAYS)  # of so many rows of a day, so many were new
    found, seen, example = np.zeros(len(rows), dtype=bool), {""}, ""
    texts = rows[name].astype(object).fillna("").to_numpy()
    for day in days_of(rows):
        new = np.array([text not in seen for text in texts[day]])
        usual = sum(some for some, _ in before) / sum(rows for _, rows in before) if before else 1.0
        if len(before) == WEEK_DAYS and new.sum() >= max(LEAST, share * len(day)) and usual < share / 2:
            found[day] = new
            example = example or repr(texts[day][new][0])
        else:
            before.append((int(new.sum()), len(day)))
            seen.update(texts[day][new])
    return found, example
