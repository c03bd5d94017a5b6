"""Guesses what the columns of a table are: event time, key, label, inputs and suspected leaks."""

import keyword
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from bike_demand.core.errors import UserError
from bike_demand.core.problem import EARLIEST, in_window
from bike_demand.data.table import NUMBER
from bike_demand.draft.cells import Table

ColumnKind = Literal["boolean", "integer", "number", "text", "time", "free text", "empty", "constant"]
CATEGORIES = 50  # more different texts are no categories
YES, NO = {"yes", "true", "y", "t", "1", "ja", "oui", "si"}, {"no", "false", "n", "f", "0", "nein", "non"}
CADENCES = {"15min": 15, "30min": 30, "1h": 60, "1D": 1440}  # in minutes
REGULAR = 0.9  # of the steps between rows have to be of the cadence
DRAWN, FIRST, SPAN = "drawn_at", pd.Timestamp("2000-01-01"), pd.Timedelta(days=100)
SEED = "row-by-row-drawn"  # 16 characters
ALMOST_PERFECT = 0.999  # a correlation, or an area under the ROC curve, that no honest input reaches
SUMS = 12  # numeric columns up to which pairs are tried as parts of the label
_ISO = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?( ?(Z|[+-]\d{2}:?\d{2}))?"
_DATES = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_TAKEN = {"copy", "dict", "json", "schema", "construct", "validate", "fields", "id"}  # Pydantic's, and ours


@dataclass(frozen=True)
class Column:
    """One column: what it is called in the file and in the code, and what it holds.

    `values` are floats, datetimes or texts; NaN, NaT or empty where missing. `low` and `high` are the valid
    range of numbers, `usual` is the expected one.
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
class Draft:
    """What a problem needs, and `notes`: every guess, for people to check."""

    time: Column
    cadence: str | None
    keys: tuple[Column, ...]
    inputs: tuple[Column, ...]  # without time and keys
    label: Column
    positive: str  # of a label with two texts, the one that counts as true
    delay: str
    rows: pd.DataFrame  # under the new names, ascending
    notes: list[str] = field(default_factory=list)

    def column(self, name: str) -> Column:
        """The column of that name in the code."""
        every = (self.time, *self.keys, *self.inputs, self.label)
        return next(each for each in every if each.name == name)

    @property
    def categories(self) -> tuple[Column, ...]:
        """The texts that models see: of the inputs, and of a key that has few values, like a region."""
        return tuple(each for each in (*self.keys, *self.inputs) if each.kind == "text")

    @property
    def is_classification(self) -> bool:
        """Whether the label is yes or no."""
        return self.label.kind == "boolean"


def guess(table: Table, label: str, time: str | None, key: str | None, delay: str | None) -> Draft:
    """Guess all of it. Raises UserError that names the option where something cannot be guessed."""
    notes = list(table.notes)
    cells = table.cells
    for option, name in (("--label", label), ("--time", time), ("--key", key)):
        if name is not None and name not in cells.columns:
            known = ", ".join(list(cells.columns)[:30])
            raise UserError(f"{option} {name}: there is no such column; there are {known}")
    names = identifiers(cells.columns)
    columns = {each: _column(each, names[each], cells[each], notes) for each in cells.columns}
    renamed = [f"{name!r} is {each.name}" for name, each in columns.items() if each.name != name]
    if renamed:
        notes.append(f"names in code, beside those of the table: {', '.join(renamed)}")
    when = _time(columns, time, label, notes) or _drawn(cells, names, notes)
    what, positive = _label(columns[label], notes)
    if when.name == what.name:
        raise UserError(f"--label {label}: it is the event time; name another column")
    wanted = cells.index[what.values.notna() & when.values.notna()]
    if len(wanted) < len(cells):
        notes.append(f"{len(cells) - len(wanted)} rows without event time or label are left out")
    keys = _keys(columns, when, what, key, notes)
    cadence = _cadence(when, keys, notes) if when.original else None
    others = [each for each in columns.values() if each not in (when, columns[label], *keys)]
    inputs = list(_useful(others, notes))
    leaks = set(_leaks(inputs, what, notes))
    inputs = [each for each in inputs if each.original not in leaks]
    if not inputs and cadence is None:
        raise UserError("no column is left to predict from; give a table with inputs that are known before")
    chosen = [when, *keys, *inputs, what]
    rows = pd.DataFrame({each.name: each.values for each in chosen}).loc[wanted]
    rows = rows.sort_values([when.name, *(each.name for each in keys)])
    after = delay or cadence or "1h"
    if delay is None and when.original:
        notes.append(f"labels are taken to be known {after} after the event time; --label-delay corrects it")
    return Draft(when, cadence, keys, tuple(inputs), what, positive, after, rows, notes)


def identifiers(originals: Iterable[str]) -> dict[str, str]:
    """For each name one that Python takes, all different."""
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
    numbers = _numbers(present, original, notes)
    if numbers is not None:
        values = numbers.reindex(text.index)
        kind: ColumnKind = "integer" if (numbers % 1 == 0).all() and numbers.abs().max() < 2**53 else "number"
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


def _ranges(numbers: "pd.Series[Any]", kind: ColumnKind) -> tuple[float, float, tuple[float, float]]:
    """Valid: far beyond what was seen. Expected: what was seen, and half as much again to both sides."""
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
        found = max(candidates, key=lambda each: each.values.nunique())
        others = [each.original for each in candidates if each is not found]
        notes.append(
            f"event time: {found.original!r}"
            + (f", not {', '.join(others)}; --time names another" if others else "")
        )
    outside = [each for each in found.values.dropna().iloc[[0, -1]] if not in_window(each)]
    if outside:
        raise UserError(f"{found.original}: {outside[0]} lies before {EARLIEST:%Y-%m-%d} or in ten years")
    return found


def _drawn(cells: pd.DataFrame, names: Mapping[str, str], notes: list[str]) -> Column:
    """Event times for a table without: rows follow one another as a seeded hash of each says, so that the
    newest, which are kept aside, are drawn at random and stay the same.
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
    """The label, and of two texts the one that counts as true."""
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
    """The column that tells rows of one time apart; none where each row has a time of its own."""

    def is_unique(column: Column) -> bool:
        pairs = pd.DataFrame({"time": when.values, "key": column.values})
        return not pairs[when.values.notna()].duplicated().any()

    def fits(column: Column) -> bool:
        return column.kind in ("integer", "text", "free text") and not column.nullable

    if given is not None:
        if not fits(columns[given]):
            raise UserError(f"--key {given}: a key is text or whole numbers, without missing values")
        if not is_unique(columns[given]):
            raise UserError(f"--key {given}: two rows have the same {when.original} and {given}")
        return (columns[given],)
    if not when.values.dropna().duplicated().any():
        return ()
    candidates = [
        each
        for each in columns.values()
        if fits(each) and each.original != label.original and is_unique(each)
    ]
    if not candidates:
        raise UserError(
            f"several rows have the same {when.original}; --key names the column that tells them apart"
        )
    found = min(candidates, key=lambda each: (each.kind == "integer", each.values.nunique()))
    notes.append(f"key: {found.original!r} tells rows of one time apart; --key names another")
    return (found,)


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
    """Columns that can only be known once the label is: equal to it, parts of it, or almost as good."""
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
    """How well the values alone predict: the absolute correlation, or the area under the ROC curve."""
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
    """The months from the first to the last of these times, like 2011-01."""
    return map(str, pd.period_range(times.min(), times.max(), freq="M"))
