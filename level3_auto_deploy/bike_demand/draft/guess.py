"""Guesses the roles of a table's columns: event time, key, label, inputs and suspected leaks."""

import keyword
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel

from bike_demand.core.errors import UserError
from bike_demand.core.problem import EARLIEST, in_window
from bike_demand.data.table import NUMBER
from bike_demand.draft.cells import Table

ColumnKind = Literal["boolean", "integer", "number", "text", "time", "free text", "empty", "constant"]
CATEGORIES = 50  # a column with more distinct texts is not categorical
YES, NO = {"yes", "true", "y", "t", "1", "ja", "oui", "si"}, {"no", "false", "n", "f", "0", "nein", "non"}
CADENCES = {"15min": 15, "30min": 30, "1h": 60, "1D": 1440}  # in minutes
REGULAR = 0.9  # share of the steps between rows that must match the cadence
DRAWN, FIRST, SPAN = "drawn_at", pd.Timestamp("2000-01-01"), pd.Timedelta(days=100)
SEED = "row-by-row-drawn"  # 16 characters
ALMOST_PERFECT = 0.999  # a correlation, or an area under the ROC curve, that no honest input reaches
SENTINELS = [float("9" * digits) for digits in range(2, 8)]
SUMS = 12  # largest number of numeric columns for which pairs are tried as parts of the label
_ISO = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?( ?(Z|[+-]\d{2}:?\d{2}))?"
_DATES: tuple[str, ...] = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d")
_DATES += ("%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%b %Y", "%Y-%m", "%m/%Y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_EIGHT_DIGITS = r"(19|20)\d\d[01]\d[0-3]\d"  # a date, not a number
_TIME_OF_DAY = r"(?P<h>\d{1,2})(?:[:.](?P<m>[0-5]\d))(?:[:.](?P<s>[0-5]\d))? ?(?P<half>[AaPp][Mm])?"
# Common names of columns with the hour of the day.
_HOUR = re.compile(r"(^|_)(hour|hr|hh|stunde|uhrzeit|heure|hora|ora|uur)($|_)")
# Names that a field cannot have: Pydantic's, those of responses, and types used in the class body.
_TAKEN = {*dir(BaseModel), "id", "features", "bool", "int", "float", "str", "datetime"}


@dataclass(frozen=True)
class Column:
    """One column: its names in the file and in the code, and its values.

    `values` are floats, datetimes or texts, with NaN, NaT or "" for missing values. `low` and `high` are the
    valid range of numbers, `usual` is the expected range.
    """

    original: str
    name: str
    kind: ColumnKind
    values: "pd.Series[Any]"
    nullable: bool
    low: float = math.nan
    high: float = math.nan
    usual: tuple[float, float] = (math.nan, math.nan)
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """What the user stated about columns; None is guessed. `time_of_day` complements dates in `time`."""

    label: str
    time: str | None = None
    time_of_day: str | None = None
    key: str | None = None
    delay: str | None = None


@dataclass(frozen=True)
class Draft:
    """The parts of a problem, and in `notes` every guess, for the user to check."""

    time: Column
    cadence: str | None
    keys: tuple[Column, ...]
    inputs: tuple[Column, ...]  # without time and keys
    label: Column
    positive: str  # the text that counts as true, for a label with two texts
    delay: str
    rows: pd.DataFrame  # with the new column names, ascending
    given: Given
    notes: list[str] = field(default_factory=list)

    def column(self, name: str) -> Column:
        """The column with that name in the code."""
        every = (self.time, *self.keys, *self.inputs, self.label)
        return next(each for each in every if each.name == name)

    @property
    def categories(self) -> tuple[Column, ...]:
        """The text columns that models see: inputs, and a key with few values, like a region."""
        return tuple(each for each in (*self.keys, *self.inputs) if each.kind == "text")

    @property
    def is_classification(self) -> bool:
        """Whether the label is binary."""
        return self.label.kind == "boolean"


def guess(table: Table, given: Given) -> Draft:
    """Guess what is not given. Raises UserError that names the option for what cannot be guessed."""
    notes = list(table.notes)
    cells = table.cells
    for option in ("label", "time", "time_of_day", "key"):
        name = getattr(given, option)
        if name is not None and name not in cells.columns:
            known = ", ".join(list(cells.columns)[:30])
            option = option.replace("_", "-")
            raise UserError(f"--{option} {name}: there is no such column; there are {known}")
    names = identifiers(cells.columns)
    columns = {each: _column(each, names[each], cells[each], notes) for each in cells.columns}
    renamed = [f"{name!r} is {each.name}" for name, each in columns.items() if each.name != name]
    if renamed:
        notes.append(f"names in code, beside those of the table: {', '.join(renamed)}")
    clock = None
    when = _time(columns, given.time, given.label, notes)
    if when is None:
        when = _drawn(cells, names, notes)
    else:
        others = [
            each for each in columns.values() if each.original not in (when.original, given.label, given.key)
        ]
        when, clock = _with_time_of_day(when, others, given.time_of_day, notes)
    what, positive = _label(columns[given.label], notes)
    if when.name == what.name:
        raise UserError(f"--label {given.label}: it is the event time; name another column")
    wanted = cells.index[what.values.notna() & when.values.notna()]
    if len(wanted) < len(cells):
        notes.append(f"{len(cells) - len(wanted)} rows without event time or label are left out")
    keys = _keys(columns, when, what, given.key, notes)
    cadence = _cadence(when, keys, notes) if when.original else None
    used = {when.original, clock, given.label, *(each.original for each in keys)}
    others = [each for each in columns.values() if each.original not in used]
    inputs = list(_useful(others, notes))
    leaks = set(_leaks(inputs, what, notes))
    inputs = [each for each in inputs if each.original not in leaks]
    if not inputs and cadence is None:
        raise UserError("no column is left to predict from; give a table with inputs that are known before")
    chosen = [when, *keys, *inputs, what]
    rows = pd.DataFrame({each.name: each.values for each in chosen}).loc[wanted]
    rows = rows.sort_values([when.name, *(each.name for each in keys)])
    after = given.delay or cadence or "1h"
    if given.delay is None and when.original:
        notes.append(f"labels are taken to be known {after} after the event time; --label-delay corrects it")
    return Draft(when, cadence, keys, tuple(inputs), what, positive, after, rows, given, notes)


def identifiers(originals: Iterable[str]) -> dict[str, str]:
    """Turn names into distinct valid Python identifiers."""
    found: dict[str, str] = {}
    for original in originals:
        plain = unicodedata.normalize("NFKD", original.replace("%", " percent ").replace("ß", "ss"))
        name = re.sub(r"\W+", "_", plain.encode("ascii", "ignore").decode().lower()).strip("_") or "column"
        if not name[0].isalpha() or name.startswith("model_"):
            name = f"the_{name}"
        if keyword.iskeyword(name) or name in _TAKEN:
            name += "_"
        base, number = name, 2
        while name in found.values():
            name, number = f"{base}_{number}", number + 1
        found[original] = name
    return found


def _column(original: str, name: str, text: "pd.Series[Any]", notes: list[str]) -> Column:
    present = text[text != ""]
    nullable = len(present) < len(text)

    def made(kind: ColumnKind, values: "pd.Series[Any]", **more: object) -> Column:
        return Column(original, name, kind, values, nullable, **more)  # type: ignore[arg-type]

    if present.empty:
        return made("empty", text)
    different = present.unique()
    lower = {each.lower() for each in different}
    if len(different) == 1:
        return made("constant", text)
    if len(lower) == 2 and lower & YES and lower & NO:
        return made("boolean", text.str.lower().map(dict.fromkeys(YES, 1.0) | dict.fromkeys(NO, 0.0)))
    is_date = present.str.fullmatch(_EIGHT_DIGITS).all()
    numbers = None if is_date else _numbers(present, original, notes)
    if numbers is not None:
        values = numbers.reindex(text.index)
        kind: ColumnKind = "integer" if (numbers % 1 == 0).all() and numbers.abs().max() < 2**53 else "number"
        if suspects := _sentinels(numbers):
            notes.append(
                f"{original!r}: does {suspects[0]:g} mean that it is missing? Then empty these cells first"
            )
        low, high, usual = _ranges(numbers, kind)
        return made(kind, values, low=low, high=high, usual=usual)
    times = _times(present, original, notes)
    if times is not None:
        return made("time", times.reindex(text.index))
    if len(different) <= CATEGORIES:
        return made("text", text, categories=tuple(sorted(different)))
    return made("free text", text)


def _numbers(present: "pd.Series[Any]", original: str, notes: list[str]) -> "pd.Series[Any] | None":
    if present.str.fullmatch(NUMBER).all():
        return present.astype("float64")
    points = present.str.replace(",", ".", regex=False)
    if (present.str.count(",") <= 1).all() and points.str.fullmatch(NUMBER).all():
        notes.append(f"{original!r} has decimal commas")
        return points.astype("float64")
    return None


def _times(present: "pd.Series[Any]", original: str, notes: list[str]) -> "pd.Series[Any] | None":
    if present.str.fullmatch(_ISO).all():
        if not present.str.contains(r"(?:Z|[+-]\d{2}:?\d{2})$").any():
            found = pd.to_datetime(present, format="ISO8601", errors="coerce")
        else:
            found = pd.to_datetime(present, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None)
            notes.append(f"{original!r} has a zone: written in UTC")
        return found.dt.floor("s") if found.notna().all() else None
    fitting = []
    if not present.iloc[:200].str.contains(r"\d").all():
        return None
    for pattern in (date + clock for date in _DATES for clock in _CLOCKS):
        parsed = pd.to_datetime(present.iloc[:200], format=pattern, errors="coerce")
        if parsed.notna().all():
            whole = pd.to_datetime(present, format=pattern, errors="coerce")
            if whole.notna().all() and whole.map(in_window).all():
                fitting.append((pattern, whole))
    if not fitting:
        return None
    pattern, found = fitting[0]
    notes.append(f"{original!r} is read as {pattern}" + (", the day first" if len(fitting) > 1 else ""))
    return found


def _sentinels(numbers: "pd.Series[Any]") -> list[float]:
    """Numbers like -999, far from all others, which may mark missing values."""
    rest = numbers[~numbers.abs().isin(SENTINELS)].abs().max()
    return [each for each in numbers.unique() if abs(each) in SENTINELS and 2 * rest < abs(each)]


def _ranges(numbers: "pd.Series[Any]", kind: ColumnKind) -> tuple[float, float, tuple[float, float]]:
    """The valid range, far beyond the observed values; the expected one, half as wide again on both sides."""
    least, most = float(numbers.min()), float(numbers.max())
    reach = 10.0 ** math.ceil(math.log10(10 * max(abs(least), abs(most), 1)))
    low, high = (0.0 if least >= 0 else -reach), reach
    first, last = (float(each) for each in np.quantile(numbers, [0.001, 0.999]))
    span = max(last - first, 1.0 if kind == "integer" else 1e-9)
    usual = (max(low, _short(first - span / 2)), min(high, _short(last + span / 2)))
    if kind == "integer":
        return int(low), int(high), (math.floor(usual[0]), math.ceil(usual[1]))
    return low, high, usual


def _short(value: float) -> float:
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

        def likely(each: Column) -> tuple[bool, bool, int]:
            tells_apart = not each.values.duplicated().any() or any(_fits_key(key, each) for key in others)
            return not each.nullable, tells_apart, each.values.nunique()

        found = max(candidates, key=likely)
        rest = [each.original for each in candidates if each is not found]
        notes.append(
            f"event time: {found.original!r}"
            + (f", not {', '.join(rest)}; --time names another" if rest else "")
        )
    outside = [each for each in found.values.dropna().iloc[[0, -1]] if not in_window(each)]
    if outside:
        raise UserError(f"{found.original}: {outside[0]} lies before {EARLIEST:%Y-%m-%d} or in ten years")
    return found


def _with_time_of_day(
    when: Column, others: Sequence[Column], given: str | None, notes: list[str]
) -> tuple[Column, str | None]:
    """Add the time of day from another column to the event time. Also returns that column, or None.

    Without `given`, only for repeated dates, and only if no other column distinguishes their rows.
    """
    is_sought = given is None and _is_dates(when) and when.values.dropna().duplicated().any()
    for each in others:
        is_named = given == each.original
        # A number could be anything; texts with hours and minutes are unmistakable.
        if is_named or (is_sought and (each.kind != "integer" or _HOUR.search(each.name))):
            since = _since_midnight(each)
            if since is None:
                continue
            if not is_named and any(_fits_key(other, when) for other in others if other is not each):
                notes.append(f"if {each.original!r} is the time of day, add --time-of-day {each.original}")
                return when, None
            notes.append(f"event time: {when.original!r} at the time of day in {each.original!r}, no input")
            return replace(when, values=when.values + since), each.original
    if given is not None:
        raise UserError(f"--time-of-day {given}: needed are hours from 0 to 23, or times like 17:30")
    return when, None


def _is_dates(when: Column) -> bool:
    present = when.values.dropna()
    return bool((present == present.dt.normalize()).all())


def _since_midnight(column: Column) -> "pd.Series[Any] | None":
    """The times of day in a column, as time deltas; None if it holds anything else."""
    if column.kind == "integer":
        is_hour = column.values.min() >= 0 and column.values.max() <= 23
        return pd.to_timedelta(column.values, unit="h") if is_hour else None
    if column.kind not in ("text", "free text"):
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


def _drawn(cells: pd.DataFrame, names: Mapping[str, str], notes: list[str]) -> Column:
    """Event times for a table without any, in an order given by a seeded hash of each row, so that the
    newest rows, which are held out, are a random and reproducible sample.
    """
    if DRAWN in names.values():
        raise UserError(f"no column holds times; rename {DRAWN}, or name one that does by --time")
    order = pd.util.hash_pandas_object(cells, index=False, hash_key=SEED).rank(method="first") - 1
    values = FIRST + (order / len(cells) * SPAN).dt.floor("s")
    notes.append(
        f"no column holds times: {DRAWN} is made by a hash of each row, so that rows kept aside are drawn at"
        " random; where --time names a column, a model is judged on rows newer than those it learned from"
    )
    return Column("", DRAWN, "time", values, nullable=False)


def _label(column: Column, notes: list[str]) -> tuple[Column, str]:
    """The label, and for two texts the one that counts as true."""
    if column.kind == "text" and len(column.categories) == 2:
        counts = column.values[column.values != ""].value_counts()
        positive = str(counts.index[-1])
        values = column.values.map({text: float(text == positive) for text in column.categories})
        notes.append(f"label: {positive!r} counts as true, {counts.index[0]!r} as false")
        return Column(column.original, column.name, "boolean", values, column.nullable), positive
    if column.kind in ("boolean", "integer", "number"):
        return column, ""
    why = {
        "constant": "it has one value in all rows, so there is nothing to learn",
        "empty": "it is empty",
        "text": f"it has {len(column.categories)} classes; two classes or numbers can be predicted",
        "free text": "it is text; two classes or numbers can be predicted",
        "time": "it is a time; two classes or numbers can be predicted",
    }
    raise UserError(f"--label {column.original}: {why[column.kind]}")


def _keys(
    columns: Mapping[str, Column], when: Column, label: Column, given: str | None, notes: list[str]
) -> tuple[Column, ...]:
    """The column that distinguishes rows with equal times; empty if all times differ."""

    if given is not None:
        if not _can_be_key(columns[given]):
            raise UserError(f"--key {given}: a key is text or whole numbers, without missing values")
        if not _fits_key(columns[given], when):
            raise UserError(f"--key {given}: two rows have the same {when.original} and {given}")
        return (columns[given],)
    if not when.values.dropna().duplicated().any():
        return ()
    candidates = [
        each for each in columns.values() if each.original != label.original and _fits_key(each, when)
    ]
    if not candidates:
        raise UserError(
            f"several rows have the same {when.original}: --key names the column that distinguishes them,"
            " or --time another event time"
        )
    found = min(candidates, key=lambda each: (each.kind == "integer", each.values.nunique()))
    notes.append(f"key: {found.original!r} distinguishes rows of one time; --key names another")
    if _is_dates(when) and _since_midnight(found) is not None:
        notes.append(
            f"if {found.original!r} is the hour of the day, use --time-of-day {found.original} instead"
        )
    return (found,)


def _can_be_key(column: Column) -> bool:
    return column.kind in ("integer", "text", "free text") and not column.nullable


def _fits_key(column: Column, when: Column) -> bool:
    """Whether the column distinguishes the rows of each time."""
    pairs = pd.DataFrame({"time": when.values, "key": column.values})
    return _can_be_key(column) and not pairs[when.values.notna()].duplicated().any()


def _cadence(when: Column, keys: tuple[Column, ...], notes: list[str]) -> str | None:
    frame = pd.DataFrame({"time": when.values} | {each.name: each.values for each in keys})
    frame = frame[frame["time"].notna()].sort_values("time")
    series = frame.groupby(keys[0].name)["time"] if keys else frame["time"]
    steps = series.diff().dropna()
    for text, minutes in CADENCES.items():
        step = timedelta(minutes=minutes)
        is_on_grid = (frame["time"] == frame["time"].dt.floor(step)).all()
        if len(steps) and is_on_grid and (steps == step).mean() >= REGULAR:
            notes.append(f"cadence: a row every {text}")
            return text
    notes.append("cadence: none, rows are events at any time")
    return None


def _useful(columns: Iterable[Column], notes: list[str]) -> Iterable[Column]:
    why = {
        "empty": "it is empty",
        "constant": "it is the same in all rows",
        "free text": f"it has more than {CATEGORIES} different texts",
        "time": "it is another time",
    }
    for each in columns:
        if each.kind in why:
            notes.append(f"left out: {each.original!r}, {why[each.kind]}")
        else:
            yield each


def _leaks(inputs: Iterable[Column], label: Column, notes: list[str]) -> Iterable[str]:
    """Columns known only with the label: equal to it, parts of it, or nearly perfect predictors."""
    known = label.values.notna()
    right = label.values[known]
    numeric = [each for each in inputs if each.kind in ("integer", "number", "boolean")]
    found: dict[str, str] = {}
    for each in numeric:
        values = each.values[known]
        if (values == right).mean() > ALMOST_PERFECT:
            found[each.original] = "it equals the label"
        elif _likeness(values, right, label) >= ALMOST_PERFECT:
            found[each.original] = "it predicts the label almost perfectly"
    if label.kind != "boolean":
        for one, other in combinations(numeric[:SUMS], 2):
            total = one.values[known] + other.values[known]
            if np.isclose(total, right).mean() > ALMOST_PERFECT:
                found[one.original] = f"it and {other.original!r} add up to the label"
                found[other.original] = f"it and {one.original!r} add up to the label"
    for each in inputs:
        if each.kind == "text" and label.kind == "boolean":
            share = right.groupby(each.values[known]).mean()
            if (share.isin([0.0, 1.0])).all():
                found[each.original] = "it predicts the label almost perfectly"
    for name, why in found.items():
        notes.append(f"left out: {name!r}, a suspected leak: {why}")
    return found


def _likeness(values: "pd.Series[Any]", right: "pd.Series[Any]", label: Column) -> float:
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


def months_of(times: "pd.Series[Any]") -> Iterable[str]:
    """All months from the first to the last of these times, like 2011-01."""
    return map(str, pd.period_range(times.min(), times.max(), freq="M"))
