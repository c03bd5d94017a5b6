"""Rows of the feed as ingested and as published, to compare them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bike_demand.core.current import Row
from bike_demand.core.settings import DATA
from bike_demand.data.frames import to_frame, to_records
from bike_demand.data.ingested import ingested_months, read_month
from bike_demand.data.table import read_month_file


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a data frame."""
    return to_frame(rows, Row)


def rows_of(rows: pd.DataFrame) -> list[Row]:
    """A data frame as rows."""
    return [Row.model_validate(each) for each in to_records(rows, Row)]


def ingested(folder: Path = DATA) -> dict[str, list[Row]]:
    """The rows that lie in the folder, by month."""
    return {month: rows_of(read_month(folder, month)) for month in ingested_months(folder)}


def published(folder: Path) -> dict[str, list[Row]]:
    """The rows of a feed of CSV files, by month."""
    return {
        path.stem: rows_of(read_month_file(path.read_bytes(), path.stem, path.name))
        for path in sorted(folder.glob("[12]*.csv"))
    }
