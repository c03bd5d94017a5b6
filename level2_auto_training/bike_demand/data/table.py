"""Reads published files into validated data frames; reports every violation with its row and column.

All cells are read as text, then converted column by column. Columns are validated by a pandera schema
derived from the problem's fields; rules about whole rows, by the problem's Pydantic models, come last.
"""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
from pyarrow import parquet
from pydantic import BaseModel, TypeAdapter, ValidationError

from bike_demand.core.current import ALIASES, CADENCE, DELAY, ID_COLUMNS, LABEL, PROBLEM, TIME, ZONE, Row
from bike_demand.core.errors import UserError
from bike_demand.core.problem import DAY, InputField, Kind, fields_of
from bike_demand.data.frames import cast_to_model, to_records
from bike_demand.data.month import month_start, next_month

MISSING_MESSAGE = "a value is missing"
MAX_REPORTED = 10  # violations reported per file
MAX_EXACT_INTEGER = 2**53  # up to here float64 represents every integer exactly
NUMBER_PATTERN = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_TIME_PATTERN = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_EXAMPLES = {"time": "2011-01-31T17:00:00", "boolean": "true or false", "category": "1", "integer": "1234"}
_OFFSET_PATTERN = r" ?(Z|[+-]\d\d:?\d\d)"
_NAMED_ZONE = rf"{_TIME_PATTERN} ?([A-Za-z]{{3,4}}|[+-]\d\d|\[[\w/+-]+\])"
_COMMAS = "use a decimal point and no thousands separator, like 1234.5"
_NO_OFFSET = "it has a zone offset, but times are local here: leave it out"
# Patterns of common mistakes in cells, with the cause and the remedy.
_HINTS = {
    rf"{_TIME_PATTERN}{_OFFSET_PATTERN}": _NO_OFFSET,
    _NAMED_ZONE: "it has a zone name: leave it out",
    rf"{_TIME_PATTERN}({_OFFSET_PATTERN})?": "this date or time does not exist",
    r"\d{9,19}(\.\d+)?": f"it is a Unix timestamp: write times like {_EXAMPLES['time']}",
    r"[+-]?\d{1,3}([,.'\u2019\s]\d{3})+([.,]\d+)?": f"it has a thousands separator: {_COMMAS}",
    r"[+-]?\d+,\d+": f"it has a decimal comma: {_COMMAS}",
    r"(?i)#?n/?a|nan|null|none|nil|nat|\\n|[-.?]+|#.+[!?]": "where a value is missing, leave the cell empty",
    rf"[^\d+-.]*{NUMBER_PATTERN}\s*[^\d\s]+|[^\d+-.]+\s*{NUMBER_PATTERN}": "write it without unit or symbol",
}
# First bytes of formats that are often published in place of CSV.
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook (.xlsx)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook (.xls)",
    b"PAR1": "Parquet",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
}


Rule = tuple[str, "pd.Series[bool]", str]  # column, mask of the rows that violate the rule, message
# Messages by row and column; the column is empty for violations of a whole row.
_Violations = dict[tuple[Any, str], str]


def read_table(
    content: bytes,
    name: str,
    model: type[BaseModel] = Row,
    ignored: Sequence[str] = (),
    needed: Sequence[str] = (),
    rules: Callable[[pd.DataFrame], Iterable[Rule]] = lambda _: (),
) -> pd.DataFrame:
    """Read the rows of a file: CSV, optionally gzipped, or Parquet if `name` ends in .parquet.

    Columns are the fields of `model` or their aliases, in any order; columns in `ignored`, or ignored by the
    problem, are allowed and skipped. A field with a default may have no column, unless it is in `needed` or
    the file has an unknown column, which may be that field's with a typing error. `rules` yields further
    rules for a frame in which unreadable cells are null. Raises UserError with all violations, each with its
    line (row, for Parquet) and column.
    """
    fields = fields_of(model)
    ignored = (*PROBLEM.ignored, *ignored)
    is_parquet = name.endswith(".parquet") or content.startswith(b"PAR1")
    violations: _Violations = {}
    cells = parquet_cells(content, name) if is_parquet else _csv_cells(content, name, len(fields), violations)
    canonical_names = {each.casefold(): each for each in (*ignored, *ALIASES, *fields)}
    names = [canonical_names.get(each.casefold(), each) for each in map(str, cells.columns)]
    cells = cells.set_axis([ALIASES.get(each, each) for each in names], axis=1)
    needed = [each for each in fields if each in needed or model.model_fields[each].is_required()]
    _check_header(list(cells.columns), name, fields, ignored, needed)
    if cells.empty and not violations:
        raise UserError(f"{name}: the file has a header but no rows")
    absent = [each for each in fields if each not in cells]
    defaults = {each: model.model_fields[each].get_default(call_default_factory=True) for each in absent}
    cells = cells.assign(**dict.fromkeys(absent, ""))
    frame = pd.DataFrame({each: _convert(cells[each], field.kind) for each, field in fields.items()})
    frame = frame.fillna({each: value for each, value in defaults.items() if value is not None})
    _check_columns(cells, frame, fields, violations)
    for column, violating, message in rules(frame):
        for row, text in cells.loc[violating, column].items():
            violations.setdefault((row, column), f"{_short(str(text))} {message}" if text else message)
    _check_rows(frame.drop(index=[row for row, _ in violations], errors="ignore"), model, violations)
    if violations:
        raise UserError(_report(name, "row" if is_parquet else "line", violations))
    return cast_to_model(frame, model)


def read_month_file(content: bytes, month: str, name: str, latest: datetime | None = None) -> pd.DataFrame:
    """Read a month of the feed: rows ascending and without duplicates.

    Rows after `latest` are rejected (default: not checked). Raises UserError with all violations.
    """
    begin, end = month_start(month), month_start(next_month(month))

    def rules(frame: pd.DataFrame) -> Iterator[Rule]:
        times = frame[TIME]
        inside = times.where(times.between(begin, end, inclusive="left"))
        zone = f" in {ZONE}, the timezone in schema.py" if ZONE else ""
        yield TIME, times.notna() & inside.isna(), f"is not in {month}{zone}"
        only_dates = (inside.dropna() == inside.dropna().dt.normalize()).all()
        hint = ""
        if ZONE:
            hint = "; the time is ambiguous (end of daylight saving time): the second needs its UTC offset"
        elif CADENCE is not None and CADENCE < DAY and only_dates:
            hint = "; the time of day is missing"
        yield TIME, times.notna() & frame.duplicated([*ID_COLUMNS]), f"appears twice{hint}"
        yield TIME, inside < inside.ffill().shift(), "is out of order"
        if latest is not None:
            yield TIME, times > latest, "is in the future"
        is_due = times + DELAY <= times.max() + (CADENCE or timedelta(0))
        yield LABEL, frame[LABEL].isna() & is_due, MISSING_MESSAGE

    return read_table(content, name, needed=(*ID_COLUMNS, LABEL), rules=rules)


def _csv_cells(content: bytes, name: str, n_columns: int, violations: _Violations) -> pd.DataFrame:
    reader = csv.reader(io.StringIO(_decode(content, name).rstrip(), newline=""), skipinitialspace=True)
    try:
        records = [(reader.line_num, [cell.strip() for cell in record]) for record in reader]
    except csv.Error as error:
        raise UserError(f"{name}, line {reader.line_num}: not CSV: {error}") from None
    (_, header), *rows = [(line, record) for line, record in records if any(record)]
    if len(header) == 1 < n_columns and (separators := set(";\t|") & set(header[0])):
        raise UserError(f"{name}, line 1: columns are separated by {min(separators)!r}; use commas")
    # Spreadsheets write commas after the last column, in some lines or all.
    width = max(len(_without_trailing_empty(record)) for _, record in [(1, header), *rows])
    header = header[: max(width, len(_without_trailing_empty(header)))]
    for line, record in rows:
        del record[max(len(header), len(_without_trailing_empty(record))) :]
        if record == header:
            violations[line, ""] = "the header is repeated; give one table per file"
        elif len(record) != len(header):
            is_short = len(record) < len(header)
            why = "a line that was cut off, or an open quote" if is_short else "a decimal comma"
            violations[line, ""] = f"{len(record)} values instead of {len(header)}; is there {why}?"
    whole = {line: record for line, record in rows if (line, "") not in violations}
    return pd.DataFrame(list(whole.values()), index=list(whole), columns=header, dtype="str")


def _without_trailing_empty(record: Sequence[str]) -> Sequence[str]:
    """A record without trailing empty cells."""
    return record[: max((place for place, cell in enumerate(record, 1) if cell), default=0)]


def _decode(content: bytes, name: str) -> str:
    while content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise UserError(f"{name}: the compressed file is damaged or cut off; publish it again") from None
    reject_other_formats(content, name)
    try:
        text = content.decode("utf-8-sig").lstrip("\ufeff")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{name}, line {line}: not UTF-8 text but maybe Latin-1 (Windows-1252); save it as UTF-8"
        ) from None
    if not text.strip(' \r\n\t,"'):
        raise UserError(f"{name}: the file is empty")
    return text


def reject_other_formats(content: bytes, name: str) -> None:
    """Raises UserError for a file that is not CSV, with the format that its first bytes suggest."""
    for signature, kind in _OTHER_FORMATS.items():
        if content.startswith(signature):
            raise UserError(f"{name}: not CSV but {kind}; save it as CSV, which may be compressed by gzip")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:100]:
        raise UserError(f"{name}, line 1: UTF-16 text or not text at all; save it as UTF-8")


def parquet_cells(content: bytes, name: str) -> pd.DataFrame:
    """All cells of a Parquet file as text, empty for missing values. Raises UserError."""
    try:
        table = parquet.read_table(io.BytesIO(content))
        text = table.cast(pyarrow.schema([(each, pyarrow.string()) for each in table.column_names]))
    except (pyarrow.ArrowException, OSError):
        raise UserError(f"{name}: damaged, or has nested columns") from None
    cells: pd.DataFrame = text.to_pandas().fillna("")
    return cells.set_axis(range(1, len(cells) + 1))


def _check_header(
    header: Sequence[str],
    name: str,
    fields: Mapping[str, InputField],
    ignored: Sequence[str],
    needed: Sequence[str],
) -> None:
    known = ",".join(fields)
    if not set(fields) & set(header):
        raise UserError(f"{name}, line 1: expected the header {known}; found {_short(','.join(header))}")
    unknown = [column for column in header if column not in fields and column not in ignored]
    if missing := [field for field in needed if field not in header]:
        instead = f"; unknown: {', '.join(map(repr, unknown))}" if unknown else ""
        raise UserError(f"{name}, line 1: column {missing[0]} is missing (needed: {known}{instead})")
    if "" in header:
        raise UserError(f"{name}, line 1: column {header.index('') + 1} has no name; remove it, or name it")
    if unknown:
        raise UserError(
            f"{name}, line 1: unknown column {unknown[0]!r} (known: {known}); rename or remove it"
        )
    if len(set(header)) < len(header):
        raise UserError(f"{name}, line 1: a column appears twice")


def _convert(text: "pd.Series[str]", kind: Kind) -> "pd.Series[Any]":
    """Convert cells to values; empty or unreadable cells become missing values."""
    if kind == "text":
        return text.where(text != "")
    if kind == "boolean":
        return text.str.lower().map(_BOOLEANS)
    if kind == "time":
        return _parse_times(text)
    numbers = text.where(text.str.fullmatch(NUMBER_PATTERN)).astype("float64")
    if kind == "number":
        return numbers.where(np.isfinite(numbers))
    return numbers.where((numbers % 1 == 0) & (numbers.abs() < MAX_EXACT_INTEGER))


def _parse_times(text: "pd.Series[str]") -> "pd.Series[Any]":
    local = pd.to_datetime(text.where(text.str.fullmatch(_TIME_PATTERN)), format="ISO8601", errors="coerce")
    if ZONE is not None:
        first = np.ones(len(text), dtype=bool)  # ambiguous local times mean the first occurrence
        local = local.dt.tz_localize(ZONE, ambiguous=first, nonexistent="NaT").dt.tz_convert("UTC")
        with_offset = text.where(text.str.fullmatch(_TIME_PATTERN + _OFFSET_PATTERN))
        utc = pd.to_datetime(with_offset, format="ISO8601", errors="coerce", utc=True)
        return utc.fillna(local).dt.tz_localize(None).astype("datetime64[us]")
    return local.astype("datetime64[us]")


def _check_columns(
    cells: pd.DataFrame, frame: pd.DataFrame, fields: Mapping[str, InputField], violations: _Violations
) -> None:
    """Record unreadable cells, and values that violate the schema."""
    columns = {}
    known = {pattern: hint for pattern, hint in _HINTS.items() if not (ZONE and hint == _NO_OFFSET)}
    if ZONE:
        known[_NAMED_ZONE] += ", or write the offset, like +01:00"
    for name, field in fields.items():
        missing = cells[name][frame[name].isna()]
        for row, text in missing[missing != ""].astype(object).items():
            hints = (hint for pattern, hint in known.items() if re.fullmatch(pattern, str(text)))
            example = f"write it like {_EXAMPLES.get(field.kind, '1234.5')}"
            violations[row, name] = f"{_short(str(text))} is not a valid {field.kind}; {next(hints, example)}"
        low, high = field.valid
        valid = pa.Check.in_range(low, high, error=f"is not within {low:g} to {high:g}")
        checks = [valid] if np.isfinite(field.valid).any() else []
        columns[name] = pa.Column(checks=checks, nullable=field.nullable)
    try:
        pa.DataFrameSchema(columns).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        for case in errors.failure_cases.itertuples():
            message = f"{_short(str(cells.at[case.index, case.column]))} {case.check}"
            is_missing = case.check == "not_nullable"
            violations.setdefault((case.index, case.column), MISSING_MESSAGE if is_missing else message)


def _check_rows(frame: pd.DataFrame, model: type[BaseModel], violations: _Violations) -> None:
    try:
        TypeAdapter(list[model]).validate_python(to_records(frame, model))  # type: ignore[valid-type]
    except ValidationError as error:
        for each in error.errors(include_url=False):
            at, *column = each["loc"]
            message = each["msg"].removeprefix("Value error, ")
            message += f" (it is {each['input']})" if column else ""
            violations[frame.index[int(at)], str(column[0]) if column else ""] = message


def _report(name: str, unit: str, violations: _Violations) -> str:
    lines = [
        f"{unit} {row}{f', column {column}' if column else ''}: {message}"
        for (row, column), message in sorted(violations.items())
    ]
    if len(lines) == 1:
        return f"{name}, {lines[0]}"
    more = [f"and {len(lines) - MAX_REPORTED} more"] if len(lines) > MAX_REPORTED else []
    return "\n  ".join([f"{name}: {len(lines)} violations", *lines[:MAX_REPORTED], *more])


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else f"{value[:37]}...")
