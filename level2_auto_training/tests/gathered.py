"""Rows of the feed as it was gathered and as it is published, to compare them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bike_demand.core.current import Row
from bike_demand.core.settings import DATA
from bike_demand.data.frames import to_frame, to_records
from bike_demand.data.store import gathered_months, read_month
from bike_demand.data.table import read_published


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows of the feed as steps get them."""
    return to_frame(rows, Row)


def rows_of(rows: pd.DataFrame) -> list[Row]:
    """And back, to read single ones."""
    return [Row.model_validate(each) for each in to_records(rows, Row)]


def gathered(folder: Path = DATA) -> dict[str, list[Row]]:
    """The rows that lie in the folder, by month."""
    return {month: rows_of(read_month(folder, month)) for month in gathered_months(folder)}


def published(folder: Path) -> dict[str, list[Row]]:
    """The rows of a feed of CSV files, by month."""
    return {
        path.stem: rows_of(read_published(path.read_bytes(), path.stem, path.name))
        for path in sorted(folder.glob("[12]*.csv"))
    }
