"""Reads the gathered months."""

from datetime import datetime
from pathlib import Path

from bike_demand.core.current import Row, time_of
from bike_demand.core.errors import UserError
from bike_demand.data.month import first_moment, next_month, parse_month


def gathered_months(folder: Path) -> list[str]:
    """The months that lie in the folder, ascending."""
    return sorted(path.stem for path in folder.glob("[0-9][0-9][0-9][0-9]-[01][0-9].csv"))


def read_rows(folder: Path, as_of: datetime | None = None) -> list[Row]:
    """All gathered rows before `as_of` (none: all), ascending.

    Raises UserError where nothing was gathered, a month is missing, or somebody spoilt a file since.
    """
    months = gathered_months(folder)
    if not months:
        raise UserError(f"{folder}: no data gathered yet; run `python -m bike_demand ingest` first")
    rows: list[Row] = []
    for number, month in enumerate(months):
        if number and next_month(months[number - 1]) != month:
            raise UserError(f"{folder}: {next_month(months[number - 1])}.csv is missing; run ingest again")
        if as_of is not None and first_moment(month) >= as_of:
            break
        path = folder / f"{month}.csv"
        rows += parse_month(path.read_bytes(), month, str(path))
    if as_of is not None:
        rows = [row for row in rows if time_of(row) < as_of]
    return rows
