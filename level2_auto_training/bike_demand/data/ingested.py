"""Reads the ingested months."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pandas as pd

from bike_demand.core.errors import UserError
from bike_demand.data.frames import as_of_view, concat, from_parquet, with_label
from bike_demand.data.month import month_start, next_month


def month_file(folder: Path, month: str) -> Path:
    """The path of an ingested month."""
    return folder / f"{month}.parquet"


def ingested_months(folder: Path) -> list[str]:
    """The ingested months, ascending."""
    return sorted(path.stem for path in folder.glob("[0-9][0-9][0-9][0-9]-[01][0-9].parquet"))


def read_month(folder: Path, month: str) -> pd.DataFrame:
    """Read an ingested month. Raises UserError if the file was damaged, or the problem changed, since."""
    path = month_file(folder, month)
    try:
        return from_parquet(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def read_rows(folder: Path, as_of: datetime | None = None) -> pd.DataFrame:
    """Read all ingested rows before `as_of` (default: all), ascending, with the labels known at that time.

    Raises UserError if nothing was ingested, a month is missing, or a file was damaged since.
    """
    months = ingested_months(folder)
    if not months:
        raise UserError(f"{folder}: no data yet; run `python -m bike_demand ingest` first")
    for month, following in pairwise(months):
        if next_month(month) != following:
            raise UserError(f"{month_file(folder, next_month(month))} is missing; run ingest again")
    before = [month for month in months if as_of is None or month_start(month) < as_of]
    # At least one month, so that the frame has its columns.
    rows = concat(read_month(folder, month) for month in before or months[:1])
    return rows if as_of is None else as_of_view(rows, as_of)


def read_labeled_rows(folder: Path, as_of: datetime | None = None) -> pd.DataFrame:
    """The rows of `read_rows` with a known label, for training and evaluation."""
    return with_label(read_rows(folder, as_of))
