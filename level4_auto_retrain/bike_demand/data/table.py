"""CSV text into validated rows; every complaint names the file, the line and the column."""

import csv
from collections.abc import Iterator
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bike_demand.core.errors import UserError

Row = TypeVar("Row", bound=BaseModel)


def parse_csv(
    content: bytes, name: str, row_type: type[Row], ignored: tuple[str, ...] = ()
) -> Iterator[tuple[int, Row]]:
    """Line number and validated row, for each line after the header.

    The columns are the fields of `row_type`, in any order; those in `ignored` may be there and are not looked
    at. `name` is what the messages call the file. Raises UserError at the first thing that is wrong.
    """
    if not content:
        raise UserError(f"{name}: the file is empty, not even a header")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{name}, line {line}: not UTF-8 text") from None
    lines = text.split("\n")
    if lines[-1]:
        raise UserError(f"{name}, line {len(lines)}: no line end, so the file was probably cut off here")
    records = csv.reader(lines[:-1], strict=True)
    try:
        header = next(records)
        _check_header(header, name, row_type, ignored)
        optional = {key for key, field in row_type.model_fields.items() if not field.is_required()}
        found = False
        for record in records:
            found = True
            yield records.line_num, _row(record, header, optional, ignored, row_type, name, records.line_num)
    except csv.Error as error:
        raise UserError(f"{name}, line {records.line_num}: not CSV: {error}") from None
    if not found:
        raise UserError(f"{name}: a header, but no rows")


def _check_header(header: list[str], name: str, row_type: type[Row], ignored: tuple[str, ...]) -> None:
    fields = list(row_type.model_fields)
    if missing := [field for field in fields if field not in header]:
        raise UserError(f"{name}, line 1: column {missing[0]} is missing (needed: {','.join(fields)})")
    if unknown := [column for column in header if column not in fields and column not in ignored]:
        raise UserError(f"{name}, line 1: unknown column {unknown[0]!r} (known: {','.join(fields)})")
    if len(set(header)) < len(header):
        raise UserError(f"{name}, line 1: a column stands there twice")


def _row(
    record: list[str],
    header: list[str],
    optional: set[str],
    ignored: tuple[str, ...],
    row_type: type[Row],
    name: str,
    line: int,
) -> Row:
    if len(record) != len(header):
        raise UserError(
            f"{name}, line {line}: {len(record)} values instead of {len(header)}; is the line cut off?"
        )
    values = {
        column: value
        for column, value in zip(header, record, strict=True)
        if column not in ignored and (value or column not in optional)
    }
    for column, value in values.items():  # Python, and so Pydantic, reads 1_000 as a number
        if "_" in value:
            raise UserError(f"{name}, line {line}, column {column}: {_short(value)} is no number and no time")
    try:
        return row_type.model_validate_strings(values, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f", column {first['loc'][0]}" if first["loc"] else ""
        given = f" (it is {_short(values[str(first['loc'][0])])})" if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{name}, line {line}{where}: {message}{given}") from None


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else f"{value[:37]}...")


def iso(moment: datetime) -> str:
    """A timestamp as the feed writes it: 2011-01-01T00:00:00."""
    return moment.isoformat(timespec="seconds")
