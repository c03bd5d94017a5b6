"""Guesses the roles of a table's columns: event time, key, label, inputs and suspected leaks."""

import keyword
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel

from bike_demand.core.errors import UserError
from bike_demand.core.problem import MIN_TIME, RESERVED_FIELDS, EventTime, is_plausible
from bike_demand.data.table import NUMBER_PATTERN
from bike_demand.draft.cells import RawTable, empty_null_tokens

ColumnKind = Literal["boolean", "integer", "number", "category", "time", "text", "empty", "constant"]
MAX_CATEGORIES = 50  # a column with more distinct texts is not categorical
MAX_NUMBER = 1e300  # a column with larger numbers counts as text, because its ranges would overflow
YES, NO = {"yes", "true", "y", "t", "1", "ja", "oui", "si"}, {"no", "false", "n", "f", "0", "nein", "non"}
CADENCES = {"15min": 15, "30min": 30, "1h": 60, "1D": 1440}  # in minutes
MIN_REGULAR_SHARE = 0.9  # share of the steps between rows that must match the cadence
MIN_ALIKE_SHARE = 0.9  # share of a column's texts that must look like numbers or dates, to be named
MIN_COVERED_SHARE = 0.85  # share of the cadence's times that must have a row; more are gaps
MIN_SHARED_SHARE = 0.2  # share of the rows with another row's time, from which a key is guessed
MAX_ZONE = timedelta(hours=14)  # local clocks are at most so far ahead of UTC
HOUR_HINT = "if {0!r} is the time of day, use --time-of-day {0}"
SYNTHETIC_TIME = "synthetic_time"
SYNTHETIC_START, SYNTHETIC_SPAN = pd.Timestamp("2000-01-01"), pd.Timedelta(days=100)
SEED = "row-by-row-drawn"  # pandas' hash_key needs 16 bytes
ALMOST_PERFECT = 0.999  # a correlation, or an area under the ROC curve, that no input without leakage reaches
SENTINELS = [float("9" * digits) for digits in range(2, 8)]
SPACES = " \xa0\u2009\u202f\u2019"  # between thousands, also as an apostrophe
MAX_COLUMNS_FOR_SUMS = 12  # the first numeric columns, tried in pairs as parts of the label
_OFFSET = r" ?(?:Z|[+-]\d{2}:?\d{2})"
_ISO = rf"\d{{4}}-\d{{2}}-\d{{2}}([T ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?)?({_OFFSET})?"
_DATE_FORMATS: tuple[str, ...] = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y")
_DATE_FORMATS += ("%Y%m%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%b %Y", "%Y-%m", "%m/%Y")
_DATE_FORMATS += ("%Y-%m-%d", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y")  # also without leading zeros
_TIME_FORMATS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_CURRENCY, _AMOUNT = r"(?:[€$£¥]|EUR|USD|GBP|CHF|JPY)", r"[+-]?\d[\d.,]*"
# Texts that could be a better input.
_LOOKS_LIKE = {
    "a number with a unit": rf"{_CURRENCY}\s*{_AMOUNT}|{_AMOUNT}\s*[^\d\s]{{1,5}}",
    "a date": r".*\b(\d\d?|\d{4})[./ -]+(\d\d?|[^\W\d]{3,9})[./, -]+(\d\d?|\d{4})\b.*",
}
_INDEX = r"column \d+|Unnamed: \d+|__index_level_\d+__"  # integer columns that programs add
_EIGHT_DIGITS = r"(19|20)\d\d[01]\d[0-3]\d"  # a date, not a number
_TIME_OF_DAY = r"(?P<h>\d{1,2})(?:[:.](?P<m>[0-5]\d))(?:[:.](?P<s>[0-5]\d))? ?(?P<half>[AaPp][Mm])?"
# Common names of columns with the hour of the day.
_HOUR = re.compile(r"(^|_)(hour|hr|hh|stunde|uhrzeit|heure|hora|ora|uur)($|_)")
# Names that a field cannot have: Pydantic's, those of responses, and types used in the class body.
_RESERVED_NAMES = {*dir(BaseModel), *RESERVED_FIELDS, "features", "bool", "int", "float", "str", "datetime"}


@dataclass(frozen=True)
class Column:
    """One column: its names in the file and in the code, and its values.

    `values` are floats, datetimes or texts, with NaN, NaT or "" for missing values. `low` and `high` are the
    valid range of numbers, `expected` is the expected range.
    """

    original: str
    name: str
    kind: ColumnKind
    values: "pd.Series[Any]"
    nullable: bool
    low: float = math.nan
    high: float = math.nan
    expected: tuple[float, float] = (math.nan, math.nan)
    categories: tuple[str, ...] = ()
    zone: str | None = None  # the time zone of times that had UTC offsets; `values` are in UTC then


@dataclass(frozen=True)
class ColumnChoices:
    """What the user stated; None is guessed. `time_of_day` complements dates in `time`."""

    label: str
    time: str | None = None
    time_of_day: str | None = None
    key: str | None = None
    delay: str | None = None
    timezone: str | None = None


@dataclass(frozen=True)
class Draft:
    """The parts of a problem, and in `notes` every guess, for the user to check."""

    time: Column
    cadence: str | None
    has_hours: bool  # whether the event times tell hours and weekdays
    keys: tuple[Column, ...]
    inputs: tuple[Column, ...]  # without time and keys
    label: Column
    positive: str  # the text that counts as true, for a label with two texts
    delay: str
    rows: pd.DataFrame  # with the new column names, ascending
    given: ColumnChoices
    notes: list[str] = field(default_factory=list)

    def column(self, name: str) -> Column:
        """The column with that name in the code."""
        every = (self.time, *self.keys, *self.inputs, self.label)
        return next(each for each in every if each.name == name)

    @property
    def times(self) -> "pd.Series[Any]":
        """The event times as in files: with a time zone, local and with their offset."""
        return _in_zone(self.rows[self.time.name], self.time.zone)

    @property
    def categories(self) -> tuple[Column, ...]:
        """The text columns that models see: inputs, and a key with few values, like a region."""
        return tuple(each for each in (*self.keys, *self.inputs) if each.kind == "category")

    @property
    def is_classification(self) -> bool:
        """Whether the label is binary."""
        return self.label.kind == "boolean"


def guess(table: RawTable, given: ColumnChoices) -> Draft:
    """Guess what is not given. Raises UserError that names the option for what cannot be guessed."""
    notes = list(table.notes)
    cells = empty_null_tokens(table.cells)
    options = [(each, getattr(given, each)) for each in ("label", "time", "time_of_day", "key")]
    roles = {name: option.replace("_", "-") for option, name in options if name is not None}
    for name, option in roles.items():
        if name not in cells.columns:
            known = ", ".join(list(cells.columns)[:30])
            raise UserError(f"--{option} {name}: no such column; the columns are {known}")
    if len(roles) < sum(name is not None for _, name in options):
        raise UserError("--label, --time, --time-of-day and --key: name a different column for each")
    names = to_identifiers(cells.columns)
    thousands = _thousands_mark(cells[table.texts], table.separator)
    columns = {
        each: _column(
            each,
            names[each],
            cells[each],
            (cells if each == given.label else table.cells)[each],
            thousands if each in table.texts else " ",
            notes,
        )
        for each in cells.columns
    }
    if renamed := [f"{name!r} to {each.name}" for name, each in columns.items() if each.name != name]:
        notes.append(f"renamed in code: {', '.join(renamed)}")
    clock = None
    when = _time(columns, given.time, given.label, notes)
    if when is None:
        when = _synthetic_times(cells, names, notes)
    else:
        others = [
            each for each in columns.values() if each.original not in (when.original, given.label, given.key)
        ]
        when, clock = _with_time_of_day(when, others, given.time_of_day, notes)
    when = _with_zone(when, given.timezone, notes)
    what, positive = _label(columns[given.label], notes)
    is_known = what.values.notna() & when.values.notna()
    if not is_known.all():
        notes.append(f"{(~is_known).sum()} rows without event time or label are left out")
    is_planned = is_known & (when.values > pd.Timestamp.now("UTC").tz_localize(None) + MAX_ZONE)
    if is_planned.any():
        notes.append(f"{is_planned.sum()} rows are left out, because they are in the future")
    kept = cells.index[is_known & ~is_planned]
    keys = _keys(columns, when, what, given.key, notes)
    cadence = _cadence(when, keys, notes) if when.original else None
    used = {when.original, clock, given.label, *(each.original for each in keys)}
    others = [each for each in columns.values() if each.original not in used]
    inputs = list(_drop_unusable(others, when, notes))
    leaks = set(_find_leaks(inputs, what, notes))
    inputs = [each for each in inputs if each.original not in leaks]
    has_hours = cadence is not None or (when.original != "" and not _has_only_dates(when))
    if not inputs and not has_hours:
        raise UserError("no column is left to predict from; add inputs that are known before the label")
    chosen = [when, *keys, *inputs, what]
    rows = pd.DataFrame({each.name: each.values for each in chosen}).loc[kept]
    rows = rows.sort_values([when.name, *(each.name for each in keys)])
    after = given.delay or cadence or "1h"
    if given.delay is None and when.original:
        notes.append(f"label delay: {after} (assumed); set it with --label-delay")
    return Draft(when, cadence, has_hours, keys, tuple(inputs), what, positive, after, rows, given, notes)


def to_identifiers(originals: Collection[str]) -> dict[str, str]:
    """Turn names into distinct valid Python identifiers, none of which is the name of another column."""
    found: dict[str, str] = {}
    folded = [each.casefold() for each in originals]
    for original in originals:
        plain = unicodedata.normalize("NFKD", original.replace("%", " percent ").replace("ß", "ss"))
        name = re.sub(r"\W+", "_", plain.encode("ascii", "ignore").decode().lower()).strip("_") or "column"
        if not name[0].isalpha() or name.startswith("model_"):
            name = f"the_{name}"
        if keyword.iskeyword(name) or name in _RESERVED_NAMES:
            name += "_"
        base, number = name, 2
        while name in found.values() or (name in folded and name != original.casefold()):
            name, number = f"{base}_{number}", number + 1
        found[original] = name
    return found


def _column(
    original: str,
    name: str,
    text: "pd.Series[Any]",
    raw: "pd.Series[Any]",
    thousands: str,
    notes: list[str],
) -> Column:
    """The column of `text`, in which words like NA are empty, or of `raw` if these are texts too."""
    present = text[text != ""]

    def made(kind: ColumnKind, values: "pd.Series[Any]", **more: object) -> Column:
        nullable = bool((values.isna() | (values == "")).any())
        return Column(original, name, kind, values, nullable, **more)  # type: ignore[arg-type]

    if present.empty:
        return made("empty", text)
    different = present.unique()
    lower = {each.lower() for each in different}
    if len(different) == 1 and (different[0][-1:].isdigit() or set(raw) <= {different[0], ""}):
        return made("constant", text)
    if len(lower) == 2 and lower & YES and lower & NO:
        return made("boolean", text.str.lower().map(dict.fromkeys(YES, 1.0) | dict.fromkeys(NO, 0.0)))
    is_date = present.str.fullmatch(_EIGHT_DIGITS).all()
    numbers = None if is_date else _numbers(present, original, thousands, notes)
    if numbers is not None and numbers.nunique() == 1:  # like 0 and 0.00
        return made("constant", text)
    if numbers is not None:
        values = numbers.reindex(text.index)
        kind: ColumnKind = "integer" if (numbers % 1 == 0).all() and numbers.abs().max() < 2**53 else "number"
        if suspects := _sentinels(numbers):
            notes.append(
                f"{original!r}: {suspects[0]:g} looks like a code for missing values; if so, empty it first"
            )
        low, high, expected = _guess_ranges(numbers, kind)
        return made(kind, values, low=low, high=high, expected=expected)
    times = _times(present, original, notes)
    if times is not None:
        zone = "UTC" if times.dt.tz else None
        return made("time", times.dt.tz_localize(None).reindex(text.index), zone=zone)
    words = raw[(text == "") & (raw != "")]
    if len(words):
        notes.append(
            f"{original!r}: {words.iloc[0]!r} ({len(words)} rows) is kept as a text; if missing, empty it"
        )
    for what, pattern in _LOOKS_LIKE.items():
        if present.str.fullmatch(pattern).mean() >= MIN_ALIKE_SHARE:
            notes.append(f"{original!r}: {present.iloc[0]!r} looks like {what}; convert it before the draft")
    different = raw[raw != ""].unique()
    if len(different) <= MAX_CATEGORIES:
        return made("category", raw, categories=tuple(sorted(different)))
    return made("text", raw)


def _thousands_mark(cells: pd.DataFrame, separator: str) -> str:
    """The thousands separator of the numbers: a comma, a point, " " for neither, "" if nothing tells.

    Certain if a number has several, or decimals behind. Else guessed: if the other mark is for decimals, if
    smaller numbers have up to three digits and no mark, or if the mark separates columns too (in quotes).
    """
    likely: dict[str, bool] = {}
    decimal: set[str] = set()
    for name in cells.columns:
        texts = cells[name][cells[name] != ""]
        for mark, point in (",.", ".,"):
            grouped = _grouped(texts, mark)
            if grouped.any():
                if texts.str.contains(rf"{re.escape(point)}|{re.escape(mark)}.*{re.escape(mark)}").any():
                    return mark
                has_hundreds = texts[~grouped].str.lstrip("+-").str.len().max() == 3
                likely[mark] = likely.get(mark, mark == separator) or has_hundreds
            elif texts.str.fullmatch(rf"[+-]?\d*(?:{re.escape(mark)}\d+)?").all():
                decimal |= {mark} if texts.str.contains(mark, regex=False).any() else set()
    marks = [mark for mark in likely if mark not in decimal and (likely[mark] or decimal)]
    return marks[0] if marks else " " if decimal else ""


def _grouped(texts: "pd.Series[Any]", mark: str) -> "pd.Series[bool]":
    """Which texts are numbers with this thousands separator; none, if other texts are no numbers."""
    decimals = {".": r"(?:,\d+)?", ",": r"(?:\.\d+)?", "'": r"(?:[.,]\d+)?"}[mark]
    grouped = texts.str.fullmatch(rf"[+-]?[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{3}})+{decimals}")
    if grouped.any() and not texts[~grouped].str.fullmatch(rf"[+-]?\d+{decimals}").all():
        grouped[:] = False
    return grouped


def _numbers(
    present: "pd.Series[Any]", original: str, thousands: str, notes: list[str]
) -> "pd.Series[Any] | None":
    points = present.str.replace(f"[{SPACES}]", "'", regex=True)
    for mark in "',.":
        if len(grouped := points[_grouped(points, mark)]):
            example, plain = present[grouped.index[0]], grouped.iloc[0].replace(mark, "")
            if mark in (thousands, "'"):
                points = points.str.replace(mark, "", regex=False)
                notes.append(f"{original!r}: {example} is read as {plain}")
            elif not thousands:
                notes.append(f"{original!r}: {example} is read as a decimal; if not, write {plain}")
    has_commas = points.str.contains(",").any()
    points = points.str.replace(",", ".", regex=False)
    if not points.str.fullmatch(NUMBER_PATTERN).all() or points.astype("float64").abs().max() > MAX_NUMBER:
        return None
    if has_commas:
        notes.append(f"{original!r} has decimal commas")
    return points.astype("float64")


def _times(present: "pd.Series[Any]", original: str, notes: list[str]) -> "pd.Series[Any] | None":
    """Times, in UTC if they have offsets; None for other texts. Offsets of dates are left out."""
    if present.str.fullmatch(_ISO).all():
        local = present.str.replace(_OFFSET + "$", "", regex=True)
        found = pd.to_datetime(local, format="ISO8601", errors="coerce")
        if present.str.contains(_OFFSET + "$").any():
            if (found == found.dt.normalize()).all():
                notes.append(f"{original!r}: the UTC offsets of these dates are left out")
            else:
                found = pd.to_datetime(present, format="ISO8601", utc=True, errors="coerce")
        return found.dt.floor("s") if found.notna().all() else None
    fitting = []
    if not present.iloc[:200].str.contains(r"\d").all():
        return None
    for pattern in (date + clock for date in _DATE_FORMATS for clock in _TIME_FORMATS):
        parsed = pd.to_datetime(present.iloc[:200], format=pattern, errors="coerce")
        if parsed.notna().all():
            whole = pd.to_datetime(present, format=pattern, errors="coerce")
            if whole.notna().all() and whole.map(is_plausible).all():
                fitting.append((pattern, whole))
    if not fitting:
        return None
    pattern, found = fitting[0]
    notes.append(f"{original!r} is parsed as {pattern}" + (" (ambiguous)" if len(fitting) > 1 else ""))
    return found


def _sentinels(numbers: "pd.Series[Any]") -> list[float]:
    """Numbers like -999, far from all others, which may mark missing values."""
    rest = numbers[~numbers.abs().isin(SENTINELS)].abs().max()
    return [each for each in numbers.unique() if abs(each) in SENTINELS and 2 * rest < abs(each)]


def _guess_ranges(numbers: "pd.Series[Any]", kind: ColumnKind) -> tuple[float, float, tuple[float, float]]:
    """The valid range: ten times the largest magnitude, rounded up to a power of ten. The expected range:
    from the 0.1 % to the 99.9 % quantile, widened by half its width on both sides.
    """
    least, most = float(numbers.min()), float(numbers.max())
    reach = 10.0 ** math.ceil(math.log10(10 * max(abs(least), abs(most))))
    low, high = (0.0 if least >= 0 else -reach), reach
    first, last = (float(each) for each in np.quantile(numbers, [0.001, 0.999]))
    span = max(last - first, 1.0 if kind == "integer" else 1e-9)
    expected = (max(low, _round(first - span / 2)), min(high, _round(last + span / 2)))
    if kind == "integer":
        return int(low), int(high), (math.floor(expected[0]), math.ceil(expected[1]))
    return low, high, expected


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def _time(columns: Mapping[str, Column], given: str | None, label: str, notes: list[str]) -> Column | None:
    if given is not None:
        if columns[given].kind != "time":
            example = next(iter(columns[given].values), "")
            raise UserError(f"--time {given}: values like {example!r} are no times like 2012-06-13T17:00:00")
        found = columns[given]
    else:
        candidates = [each for each in columns.values() if each.kind == "time" and each.original != label]
        if not candidates:
            return None
        others = [each for each in columns.values() if each.original != label]

        def rank(each: Column) -> tuple[bool, bool, int]:
            tells_apart = not each.values.duplicated().any() or any(_identifies(key, each) for key in others)
            return not each.nullable, tells_apart, each.values.nunique()

        found = max(candidates, key=rank)
        rest = [each.original for each in candidates if each is not found]
        notes.append(
            f"event time: {found.original!r}"
            + (f" (guessed, also possible: {', '.join(rest)}; choose with --time)" if rest else "")
        )
    outside = [each for each in found.values.agg(["min", "max"]) if not is_plausible(each)]
    if outside:
        raise UserError(
            f"{found.original}: {outside[0]} is not from {MIN_TIME:%Y-%m-%d} to ten years ahead;"
            " correct it, or leave unknown times empty"
        )
    return found


def _with_time_of_day(
    when: Column, others: Sequence[Column], given: str | None, notes: list[str]
) -> tuple[Column, str | None]:
    """Add the time of day from another column to the event time. Also returns that column, or None.

    Without `given`, only for repeated dates, and only if no other column distinguishes their rows.
    """
    is_sought = given is None and _has_only_dates(when) and when.values.dropna().duplicated().any()
    for each in others:
        is_named = given == each.original
        # A number could be anything; texts with hours and minutes are unmistakable.
        if is_named or (is_sought and (each.kind != "integer" or _HOUR.search(each.name))):
            since = _to_time_of_day(each)
            if since is None:
                continue
            if not is_named and any(_identifies(other, when) for other in others if other is not each):
                notes.append(HOUR_HINT.format(each.original))
                return when, None
            notes.append(f"event time: {when.original!r} combined with {each.original!r}, which is no input")
            return replace(when, values=when.values + since), each.original
    if given is not None:
        raise UserError(f"--time-of-day {given}: it must contain hours from 0 to 23, or times like 17:30")
    return when, None


def _with_zone(when: Column, given: str | None, notes: list[str]) -> Column:
    """The event time with the time zone of its hours and months. Offsets do not tell it."""
    try:
        _ = EventTime(timezone=given).zone
    except (KeyError, ValueError):
        raise UserError(f"--timezone {given}: unknown; give one like Europe/Berlin") from None
    if given is not None and when.zone is None:
        raise UserError(f"--timezone: {when.name} has no times with UTC offsets; leave this option out")
    zone = given or when.zone
    if zone is not None:
        assumed = "" if given else " (assumed); name yours with --timezone"
        notes.append(f"{when.original!r} has UTC offsets: hours and months are those of {zone}{assumed}")
    return replace(when, zone=zone)


def _in_zone(times: "pd.Series[Any]", zone: str | None) -> "pd.Series[Any]":
    return times.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else times


def _has_only_dates(when: Column) -> bool:
    present = when.values.dropna()
    return bool((present == present.dt.normalize()).all())


def _to_time_of_day(column: Column) -> "pd.Series[Any] | None":
    """The times of day in a column, as time deltas; None if it holds anything else."""
    if column.kind == "integer":
        is_hour = column.values.min() >= 0 and column.values.max() <= 23
        return pd.to_timedelta(column.values, unit="h") if is_hour else None
    if column.kind not in ("category", "text"):
        return None
    parts = column.values.str.extract(rf"^{_TIME_OF_DAY}$")
    if (parts["h"].isna() & (column.values != "")).any():
        return None
    hours, half = parts["h"].astype("float64"), parts["half"].str.lower()
    if (hours > half.isna().map({True: 23, False: 12})).any():
        return None
    hours = hours.mask(half.notna(), hours % 12 + 12 * (half == "pm"))
    seconds = sum(parts[name].fillna("0").astype("float64") * unit for name, unit in (("m", 60), ("s", 1)))
    return pd.to_timedelta(hours * 3600 + seconds, unit="s")


def _synthetic_times(cells: pd.DataFrame, names: Mapping[str, str], notes: list[str]) -> Column:
    """Synthetic event times from row hashes, so that the holdout is a random and reproducible sample."""
    if SYNTHETIC_TIME in names.values():
        raise UserError(
            f"no time column: choose one with --time, or rename {SYNTHETIC_TIME}, a reserved name"
        )
    order = pd.util.hash_pandas_object(cells, index=False, hash_key=SEED).rank(method="first") - 1
    values = SYNTHETIC_START + (order / len(cells) * SYNTHETIC_SPAN).dt.floor("s")
    notes.append(
        f"no time column: {SYNTHETIC_TIME} holds synthetic event times (row hashes), so the holdout is a"
        " random sample; with --time it is the newest rows"
    )
    return Column("", SYNTHETIC_TIME, "time", values, nullable=False)


def _label(column: Column, notes: list[str]) -> tuple[Column, str]:
    """The label, and for two texts the one that counts as true."""
    if column.kind == "category" and len(column.categories) == 2:
        counts = column.values[column.values != ""].value_counts()
        positive = str(counts.index[-1])
        values = column.values.map({text: float(text == positive) for text in column.categories})
        notes.append(f"label: {positive!r} (the rarer value) is true, {counts.index[0]!r} is false")
        return Column(column.original, column.name, "boolean", values, column.nullable), positive
    if column.kind in ("boolean", "integer", "number"):
        return column, ""
    why = {
        "constant": "it has one value in all rows, so there is nothing to learn",
        "empty": "it is empty",
        "category": f"it has {len(column.categories)} classes; only binary and numeric labels are supported",
        "text": "it is text; only binary and numeric labels are supported",
        "time": "it is a time; only binary and numeric labels are supported",
    }
    raise UserError(f"--label {column.original}: {why[column.kind]}")


def _keys(
    columns: Mapping[str, Column], when: Column, label: Column, given: str | None, notes: list[str]
) -> tuple[Column, ...]:
    """The column that distinguishes rows with equal times; empty if all times differ."""

    if given is not None:
        if not _is_key_type(columns[given]):
            raise UserError(f"--key {given}: a key is text or whole numbers, without missing values")
        if not _identifies(columns[given], when):
            raise UserError(f"--key {given}: two rows have the same {when.original} and {given}")
        return (columns[given],)
    times = when.values.dropna()
    shared = times[times.duplicated(keep=False)]
    if shared.empty:
        return ()
    if len(shared) < MIN_SHARED_SHARE * len(times):
        raise UserError(
            f"{len(shared)} of {len(times)} rows share their {when.original}, first {shared.min()} (a clock"
            " change?): average or remove them, or give --key, a column that distinguishes them"
        )
    others = [each for each in columns.values() if not re.fullmatch(_INDEX, each.original)]
    candidates = [each for each in others if each.original != label.original and _identifies(each, when)]
    if not candidates:
        raise UserError(
            f"several rows have the same {when.original}; give --key, to distinguish them, or another --time"
        )
    found = min(candidates, key=lambda each: (each.kind == "integer", each.values.nunique()))
    notes.append(
        f"key: {found.original!r} (guessed: identifies rows with equal event times; choose with --key)"
    )
    if _has_only_dates(when) and _to_time_of_day(found) is not None:
        notes.append(HOUR_HINT.format(found.original))
    return (found,)


def _is_key_type(column: Column) -> bool:
    return column.kind in ("integer", "category", "text") and not column.nullable


def _identifies(column: Column, when: Column) -> bool:
    """Whether the column distinguishes the rows of each time."""
    pairs = pd.DataFrame({"time": when.values, "key": column.values})
    return _is_key_type(column) and not pairs[when.values.notna()].duplicated().any()


def _cadence(when: Column, keys: tuple[Column, ...], notes: list[str]) -> str | None:
    frame = pd.DataFrame({"time": when.values} | {each.name: each.values for each in keys})
    frame = frame[frame["time"].notna()].sort_values("time")
    series = frame.groupby(keys[0].name)["time"] if keys else frame["time"]
    steps = series.diff().dropna()
    clock = _in_zone(frame["time"], when.zone).dt.tz_localize(None)
    for text, minutes in CADENCES.items():
        step = timedelta(minutes=minutes)
        if when.zone and minutes > 60:
            continue  # with a time zone, days may have 23 or 25 hours
        is_on_grid = (clock == clock.dt.floor(step)).all()
        if len(steps) and is_on_grid and (steps == step).mean() >= MIN_REGULAR_SHARE:
            if len(steps) < MIN_COVERED_SHARE * steps.dt.total_seconds().sum() / (60 * minutes):
                notes.append(f"cadence: none; rows are {text} apart, with many gaps (opening hours?)")
                return None
            notes.append(f"cadence: a row every {text}")
            return text
    notes.append("cadence: none (irregular events)")
    return None


def _drop_unusable(columns: Iterable[Column], when: Column, notes: list[str]) -> Iterable[Column]:
    why = {
        "empty": "it is empty",
        "constant": "it is the same in all rows",
        "text": f"it has more than {MAX_CATEGORIES} distinct texts",
        "time": "it is a second time column",
    }
    for each in columns:
        if each.kind in why:
            notes.append(f"left out: {each.original!r}, {why[each.kind]}")
        elif each.kind == "integer" and _is_row_number(each, when):
            notes.append(f"left out: {each.original!r}, it looks like a row number")
        else:
            yield each


def _is_row_number(column: Column, when: Column) -> bool:
    """Whether it is a program's index, or sorted and with few gaps, like the numbers of orders."""
    if re.fullmatch(_INDEX, column.original):
        return True
    if column.values.max() - column.values.min() >= 2 * len(column.values):
        return False  # like the reading of a meter
    by_time = column.values[when.values.sort_values(kind="stable").index]
    orders = [each for each in (column.values, by_time) if not each.isna().any() and each.is_unique]
    return any(each.is_monotonic_increasing or each.is_monotonic_decreasing for each in orders)


def _find_leaks(inputs: Iterable[Column], label: Column, notes: list[str]) -> Iterable[str]:
    """Columns known only with the label: equal to it, parts of it, or nearly perfect predictors."""
    known = label.values.notna()
    right = label.values[known]
    numeric = [each for each in inputs if each.kind in ("integer", "number", "boolean")]
    found: dict[str, str] = {}
    for each in numeric:
        values = each.values[known]
        if (values == right).mean() > ALMOST_PERFECT:
            found[each.original] = "it equals the label"
        elif _predictive_power(values, right, label) >= ALMOST_PERFECT:
            found[each.original] = "it predicts the label almost perfectly"
    if label.kind != "boolean":
        for one, other in combinations(numeric[:MAX_COLUMNS_FOR_SUMS], 2):
            total = one.values[known] + other.values[known]
            if np.isclose(total, right).mean() > ALMOST_PERFECT:
                found[one.original] = f"it and {other.original!r} add up to the label"
                found[other.original] = f"it and {one.original!r} add up to the label"
    for each in inputs:
        if each.kind == "category" and label.kind == "boolean":
            share = right.groupby(each.values[known]).mean()
            if (share.isin([0.0, 1.0])).all():
                found[each.original] = "it predicts the label almost perfectly"
    for name, why in found.items():
        notes.append(f"left out as a suspected leak: {name!r}, {why}")
    return found


def _predictive_power(values: "pd.Series[Any]", right: "pd.Series[Any]", label: Column) -> float:
    """How well a column alone predicts the label: absolute correlation, or area under the ROC curve."""
    both = values.notna()
    x, y = values[both], right[both]
    if len(x) < 10 or x.nunique() < 2 or y.nunique() < 2:
        return 0.0
    if label.kind != "boolean":
        return float(abs(np.corrcoef(x, y)[0, 1]))
    positives = int(y.sum())
    ranks = x.rank()
    area = (ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives))
    return float(max(area, 1 - area))
