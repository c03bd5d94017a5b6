"""Data quality: rules across rows, each with a name and a switch under `quality` in params.yaml.

Types, valid ranges and duplicates are checked when files are read (`problem.schema`, `data.table`). These
rules detect what only shows across rows: changed units, nulls, implausible values, missing rows.
"""

import json
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict

from bike_demand.core.current import CADENCE, FIELDS, KEYS, LABEL, LABEL_LAG, TIME, RowId, clock_time
from bike_demand.core.errors import UserError
from bike_demand.core.files import write_atomically
from bike_demand.core.problem import DAY, Floats
from bike_demand.core.settings import REPORTS, QualityRules, Settings
from bike_demand.data.frames import (
    by_key,
    event_times,
    keys_of,
    period_end,
    row_ids,
    rows_per_day,
    time_range,
    with_label,
)
from bike_demand.data.month import iso

REPORT = REPORTS / "validation.json"  # written when data are not fit for training
FEED, LABEL_SUBJECT = "feed", "label"  # subjects of violations that are not about an input field
RECENT = 35 * DAY + LABEL_LAG  # older violations are not reported: an earlier training checked the rows
WEEK_DAYS = 7
LIMIT_GROWTH = 1 / 12  # how much the allowed change grows per day without a plausible value
MIN_BAD = 3  # fewer bad rows in a day are ignored, by `nulls` and `texts`
LEVEL_DAYS = 35  # before the day that the rule `level` checks
MIN_ROWS = 14  # with fewer rows a share is noise, so several days are checked together
RETIRED_AFTER = 35 * DAY  # without rows, a key is retired, and its rows are no longer missing
Mask = npt.NDArray[np.bool_]
Reported = Mapping[RowId, float]  # labels from another source than the feed, once there is one
NO_LABELS: Reported = MappingProxyType({})
Texts = Mapping[str, Collection[str]]  # by field
NO_TEXTS: Texts = MappingProxyType({})


class Violation(BaseModel):
    """Rows that violate a rule. `rows`, ascending, are event time and key (empty if the problem has none) of
    the bad rows or, for `gaps`, of the missing ones.

    `subject` is an input field, "feed" or "label". `ongoing`: whether the newest rows violate the rule too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    subject: str
    message: str  # without times
    rows: tuple[RowId, ...]
    ongoing: bool

    @property
    def times(self) -> list[datetime]:
        """The event time of each row."""
        return [moment for moment, _ in self.rows]

    def __str__(self) -> str:
        first, last = iso(self.times[0]), iso(self.times[-1])
        return f"{self.message} ({first if first == last else f'{len(self.rows)} rows, {first} to {last}'})"

    def since(self, moment: datetime) -> "Violation":
        """The violation without its rows before a time."""
        return self.model_copy(update={"rows": self.rows[bisect_left(self.rows, (moment, "")) :]})


def check(
    rows: pd.DataFrame, rules: QualityRules, reported: Reported = NO_LABELS, seen_texts: Texts = NO_TEXTS
) -> list[Violation]:
    """All violations in ingested rows (ascending, at least one)."""
    by_series = [*check_gaps(rows, rules, reported), *check_level(rows, rules, reported)]
    return check_inputs(rows, rules, seen_texts) + by_series


def require_no_violations(
    rows: pd.DataFrame, violations: Sequence[Violation], settings: Settings, as_of: datetime | None
) -> None:
    """Raises UserError if rows (ascending, at least one) have recent violations, or are stale at `as_of`
    (default: see `freshness_deadline`). A report in state/reports then lists each bad row.
    """
    # Up to one day of implausible values hardly changes the model.
    harmless = rows_per_day(rows)
    parts = [each.since(time_range(rows)[1] - RECENT) for each in violations]
    recent = [each for each in parts if len(each.rows) > (harmless if each.subject in FIELDS else 0)]
    recent += check_stale(rows, settings.quality, freshness_deadline(settings, as_of))
    if not recent:
        REPORT.unlink(missing_ok=True)
        return
    content = [each.model_dump(mode="json", include={"message", "rows"}) for each in recent]
    write_atomically(REPORT, (json.dumps(content, indent=1) + "\n").encode())
    raise UserError(
        f"the data are not fit for training: {'; '.join(map(str, recent))}; nothing was trained. Have the"
        f" feed corrected ({REPORT.as_posix()} has every row; see docs: troubleshooting, data-not-fit)"
    )


def check_inputs(rows: pd.DataFrame, rules: QualityRules, seen_texts: Texts = NO_TEXTS) -> list[Violation]:
    """The rules `units`, `nulls`, `texts` and `ranges` for input fields (rows ascending).

    `seen_texts`: those of good rows before these, by field.

    Each value is reported once: a temperature in the wrong unit is not also reported as implausible.
    """
    found: list[Violation] = []
    for name in FIELDS if len(rows) else ():
        seen = np.zeros(len(rows), dtype=bool)
        for rule, message, bad in _field_violations(rows, name, rules, seen_texts.get(name, ())):
            found += violations(rule, name, message, rows, bad & ~seen)
            seen |= bad
    return found


def freshness_deadline(settings: Settings, as_of: datetime | None) -> datetime | None:
    """The time at which data must be up to date: `as_of`, else as set in `settings`; None: unchecked."""
    return clock_time() if as_of is None and settings.clock == "wall" else as_of


def check_stale(rows: pd.DataFrame, rules: QualityRules, now: datetime | None) -> list[Violation]:
    """The rule `stale`: whether the newest row (ascending, at least one) is too old at `now`; None: never."""
    if rules.stale is None or now is None:
        return []
    age = (now - period_end(rows)) // timedelta(hours=1)
    # Events that arrive, say, once a month are not late after two days.
    pauses = rows[TIME].drop_duplicates().diff().dt.total_seconds() / 3600
    pause = pauses.median() if CADENCE is None else 0
    if age <= max(rules.stale.hours, 1.5 * pause):
        return []
    message = f"the feed is stale: its last row ended {age} hours ago"
    last = row_ids(rows[-1:])
    return [Violation(rule="stale", subject=FEED, message=message, rows=tuple(last), ongoing=True)]


def check_gaps(rows: pd.DataFrame, rules: QualityRules, reported: Reported = NO_LABELS) -> list[Violation]:
    """The rule `gaps`: stretches of days in which too many rows are missing, of one key or of all (rows
    ascending, at least one). Irregular events have no gaps.

    A feed may omit rows without activity, so a share may be missing. On a day for which `reported` has labels
    above 0, only rows with such a label count as missing; on other days all do.
    """
    rule = rules.gaps
    if rule is None or CADENCE is None:
        return []
    groups, keys, a_day = by_key(rows), keys_of(rows), DAY // CADENCE
    times = pd.date_range(*time_range(rows), freq=CADENCE)
    moments: dict[str, list[datetime]] = defaultdict(list)
    for (moment, key), label in reported.items():
        if label:
            moments[key].append(moment)
    labelled_days = pd.DatetimeIndex([moment for each in moments.values() for moment in each]).normalize()
    is_unreported = ~times.normalize().isin(labelled_days)
    due, absent, bad = np.zeros((3, len(groups), len(times)), dtype=bool)
    for at, chosen in enumerate(groups):
        present, labeled = rows[TIME].iloc[chosen], pd.DatetimeIndex(moments[keys.iloc[chosen[0]]])
        due[at] = (present.iloc[0] <= times) & (times <= present.iloc[-1] + RETIRED_AFTER)
        absent[at] = due[at] & ~times.isin(present) & (times.isin(labeled) | is_unreported)
    ongoing = False
    for part in (slice(None), *(slice(at, at + 1) for at in range(len(groups) if len(groups) > 1 else 0))):
        width = a_day * max(rule.days, -(-MIN_ROWS // (a_day * len(absent[part]))))
        lost = np.concatenate([np.zeros(width), np.cumsum(absent[part].sum(axis=0))])  # so far
        broken = lost[width:] - lost[:-width] > rule.share * width * due[part].sum(axis=0)
        ends = np.concatenate([[0], np.cumsum(broken), np.full(width - 1, broken.sum())])
        bad[part] |= absent[part] & (ends[width:] > ends[:-width])  # missing rows inside a broken window
        ongoing |= bool(broken[-1] and absent[part, -a_day * rule.days :].any())
    missing = [(times[when].to_pydatetime(), keys.iloc[groups[at][0]]) for when, at in np.argwhere(bad.T)]
    message = f"rows of the feed are missing, more than {rule.share:.0%} in {rule.days} days"
    gap = Violation(rule="gaps", subject=FEED, message=message, rows=tuple(missing), ongoing=ongoing)
    return [gap] if missing else []


def check_level(rows: pd.DataFrame, rules: QualityRules, reported: Reported = NO_LABELS) -> list[Violation]:
    """The rule `level`: days whose mean label is far above or far below the median of the days before.

    Off by default, because it assumes a steady level: a business that closes for a day would violate it.
    Days for which `reported` has half of the rows are skipped.
    """
    rows = with_label(rows)  # labels may arrive much later than their rows
    if rules.level is None or rows.empty:
        return []
    factor, day, known = rules.level.factor, rows[TIME].dt.normalize(), labels_in(rows, reported)
    label = np.where(np.isnan(known), rows[LABEL].to_numpy(np.float64), known)
    by_day = pd.DataFrame({"label": label, "is_known": ~np.isnan(known)}, index=rows.index).groupby(day)
    mean, is_known = by_day["label"].mean(), 2 * by_day["is_known"].mean() >= 1
    usual = mean.shift().rolling(LEVEL_DAYS, min_periods=WEEK_DAYS).median()
    is_complete = 2 * by_day.size() >= rows_per_day(rows)
    bad = mean.index[((mean > factor * usual) | (factor * mean < usual)) & is_complete & ~is_known]
    if bad.empty:
        return []
    first, expected = f"{bad[0]:%Y-%m-%d}", f"{usual[bad[0]]:g}"
    message = f"{LABEL} is implausible: {mean[bad[0]]:g} on average on {first}, where {expected} is expected"
    return violations("level", LABEL_SUBJECT, message, rows, day.isin(bad).to_numpy())


def labels_in(rows: pd.DataFrame, reported: Mapping[RowId, float]) -> Floats:
    """The labels of rows in another source, shape [rows]; NaN where it has none."""
    if not reported:
        return np.full(len(rows), np.nan)
    return np.array([reported.get(each, np.nan) for each in row_ids(rows)], dtype=np.float64)


def days_of(rows: pd.DataFrame, least: int = 1) -> list[npt.NDArray[np.int64]]:
    """The row positions of each day (rows ascending). Days with fewer than `least` rows are grouped until
    they have as many, counted back from the last.
    """
    days = rows[TIME].to_numpy("datetime64[D]").astype(np.int64)
    days = (days[-1:] - days) // -(-least // rows_per_day(rows))
    return np.split(np.arange(len(rows)), np.flatnonzero(days[1:] != days[:-1]) + 1)


def violations(rule: str, subject: str, message: str, rows: pd.DataFrame, bad: Mask) -> list[Violation]:
    """One violation that covers all bad rows; empty if there are none."""
    found = row_ids(rows[bad])
    if not found:
        return []
    ongoing = found[-1][0] > time_range(rows)[1] - DAY
    return [Violation(rule=rule, subject=subject, message=message, rows=tuple(found), ongoing=ongoing)]


def _field_violations(
    rows: pd.DataFrame, name: str, rules: QualityRules, seen_texts: Collection[str]
) -> Iterator[tuple[str, str, Mask]]:
    """Rule, message and bad rows for a field, the most specific rule first."""
    absent = rows[name].isna().to_numpy()
    if rules.units is not None and name in rules.units:
        wrong, example = np.zeros(len(rows), dtype=bool), ""
        for chosen in by_key(rows):
            wrong[chosen], what = _find_unit_changes(rows.iloc[chosen], name, rules.units[name])
            example = example or what
        yield "units", f"{name} changes its unit: {example}", wrong
    if rules.nulls is not None and name not in rules.nulls.allowed and absent.any():
        missing = _find_null_days(rows, absent, rules.nulls.share)
        for chosen in by_key(rows) if KEYS and CADENCE else ():
            others = absent[chosen] & ~missing[chosen]
            missing[chosen] |= _find_null_days(rows.iloc[chosen], others, rules.nulls.share)
        yield "nulls", f"{name} is missing", missing
    if rules.texts is not None and FIELDS[name].kind == "text" and name not in KEYS:
        known = rules.texts.known.get(name, ())
        wrong, example = _find_unseen_texts(rows, name, rules.texts.share, {"", *known, *seen_texts})
        yield "texts", f"{name} has values never seen before: {example}", wrong
    if rules.ranges is not None and name in rules.ranges:
        low, high = rules.ranges[name]
        values = rows[name].to_numpy(np.float64)
        wrong = ~absent & ~((low <= values) & (values <= high))
        example = f"{values[wrong.argmax()]:g}, not {low:g} to {high:g}"
        yield "ranges", f"{name} is implausible: {example}", wrong


def _find_unit_changes(rows: pd.DataFrame, name: str, change: float) -> tuple[Mask, str]:
    """The rows of a key whose value differs by more than `change` from the plausible values of the day
    before, and an example.

    Real values do not change that fast; a changed unit does. Values in the wrong unit are still information:
    they are converted and serve as reference for later rows, so that a change of season is not reported.
    """
    day, present = rows_per_day(rows), rows.dropna(subset=name)
    values = present[name]
    before = values.rolling(day, min_periods=1)
    far = np.maximum(before.min().shift() - values, values - before.max().shift()) > change
    if not far.any():  # true for nearly all feeds, and saves checking row by row
        return np.zeros(len(rows), dtype=bool), ""
    plausible: deque[float] = deque(values[:1], maxlen=day)
    convert = FIELDS[name].convert or float
    wrong = np.zeros(len(rows), dtype=bool)
    since = last_wrong = datetime.min
    example = ""
    positions = np.flatnonzero(rows[name].notna())
    for at, moment, value in zip(positions, event_times(present), values.tolist(), strict=True):
        low, high = min(plausible), max(plausible)
        allowed = change * (1 + LIMIT_GROWTH * max(0, (moment - since) // DAY))
        converted = convert(value)
        distance = max(low - value, value - high, 0.0)
        converted_distance = max(low - converted, converted - high, 0.0)
        in_stretch = moment - last_wrong <= DAY
        if distance <= allowed and not (in_stretch and converted_distance < distance):
            plausible.append(value)
            since = moment
            continue
        example = example or f"{value:g} after {plausible[-1]:g} {FIELDS[name].unit}"
        wrong[at], last_wrong = True, moment
        if converted_distance <= allowed:
            plausible.append(converted)
            since = moment
    return wrong, example


def _find_null_days(rows: pd.DataFrame, absent: Mask, share: float) -> Mask:
    """The rows without a value on days on which at least `share` is missing, after a nearly complete week."""
    before: deque[tuple[int, int]] = deque(maxlen=WEEK_DAYS)  # per day: number of rows, number of nulls
    found = np.zeros(len(rows), dtype=bool)
    for day in days_of(rows, MIN_ROWS):
        nulls = int(absent[day].sum())
        usual = sum(some for some, _ in before) / sum(rows for _, rows in before) if before else 1.0
        if nulls >= max(MIN_BAD, share * len(day)) and usual < share / 2:
            found[day] = absent[day]
        else:
            before.append((nulls, len(day)))
    return found


def _find_unseen_texts(rows: pd.DataFrame, name: str, share: float, seen: set[str]) -> tuple[Mask, str]:
    """The rows of days on which at least `share` has texts that no good row had before, and an example.
    Adds the texts of good rows to `seen`.

    A few new values are normal. In fields where nearly every row has one, such as names, so are many.
    """
    before: deque[tuple[int, int]] = deque(maxlen=WEEK_DAYS)  # per day: number of rows, number of new texts
    found, example = np.zeros(len(rows), dtype=bool), ""
    texts = rows[name].astype(object).fillna("").to_numpy()
    for day in days_of(rows, MIN_ROWS):
        new = np.array([text not in seen for text in texts[day]])
        usual = sum(some for some, _ in before) / sum(rows for _, rows in before) if before else 1.0
        if len(before) == WEEK_DAYS and new.sum() >= max(MIN_BAD, share * len(day)) and usual < share / 2:
            found[day] = new
            example = example or repr(texts[day][new][0])
        else:
            before.append((int(new.sum()), len(day)))
            seen.update(texts[day][new])
    return found, example
