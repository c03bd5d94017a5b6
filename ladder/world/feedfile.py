"""The feed on disk: a folder with one CSV a month, read strictly and written month by month."""

import itertools
import re
from datetime import date
from pathlib import Path

import pandas as pd

from ladder import UserError
from ladder.output import save
from ladder.world.table import Table

COLUMNS = [
    "timestamp",
    "holiday",
    "workingday",
    "weather",
    "temp_c",
    "feels_like_c",
    "humidity",
    "windspeed_kmh",
    "casual",
    "registered",
    "count",
]
INPUTS = COLUMNS[:8]  # known before the hour: the columns of a request
COUNTS = COLUMNS[8:]

FLAGS = ["holiday", "workingday"]
FLOATS = ["temp_c", "feels_like_c", "humidity", "windspeed_kmh"]
# The possible, not the usual: a station that reports Fahrenheit still gives a readable feed.
POSSIBLE = {
    "temp_c": (-90.0, 150.0),
    "feels_like_c": (-90.0, 150.0),
    "humidity": (0.0, 1.0),
    "windspeed_kmh": (0.0, 410.0),
}
MONTH_FILE = re.compile(r"\d{4}-(0[1-9]|1[0-2])\.csv")
TIMESTAMP = r"\d{4}-\d{2}-\d{2}T\d{2}:00:00"


def read_feed(folder: Path) -> pd.DataFrame:
    """Read a feed folder, every row checked.

    Returns one row an hour, ascending: `timestamp` datetime64; `holiday`, `workingday`, `weather` and `count`
    int64; `temp_c`, `feels_like_c` (degrees C), `humidity` (0 to 1, NaN where null) and `windspeed_kmh`
    float64; `casual` and `registered` Int64 (both null where the source lacks them).

    Raises UserError at the first thing that breaks the contract.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; choose one that holds month files such as 2011-01.csv")
    paths = sorted(folder.glob("*.csv"))
    for path in paths:
        if not MONTH_FILE.fullmatch(path.name):
            raise UserError(f"{path}: unexpected file name; a feed holds only files such as 2011-01.csv")
    if not paths:
        raise UserError(f"{folder}: holds no month file; a feed has files such as 2011-01.csv")
    months = pd.PeriodIndex([path.stem for path in paths], freq="M")
    for month, later in itertools.pairwise(months):
        if later != month + 1:
            raise UserError(
                f"{folder}: {month + 1}.csv is missing between {month}.csv and {later}.csv; add it"
            )
    return pd.concat([_typed(Table(path, COLUMNS)) for path in paths], ignore_index=True)


def between(frame: pd.DataFrame, first: date, after: date) -> pd.DataFrame:
    """The rows from the first day on, to before the other."""
    stamps = frame["timestamp"]
    return frame[(stamps >= pd.Timestamp(first)) & (stamps < pd.Timestamp(after))].reset_index(drop=True)


def write_feed(frame: pd.DataFrame, folder: Path) -> list[Path]:
    """Make a folder hold exactly this feed, one file per month.

    Files are written atomically; those whose bytes would not change are left alone, so that their
    modification time stays. Month files that the frame no longer has are removed.

    Returns the paths of the files written. Raises UserError if the frame lacks a month, or
    the folder holds anything that is not part of a feed (except hidden files).
    """
    present = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []
    for path in present:
        if not (path.is_file() and MONTH_FILE.fullmatch(path.name)):
            raise UserError(
                f"{path}: not part of a feed, so the folder is left unchanged; choose an empty folder"
            )

    months = sorted(frame["timestamp"].dt.to_period("M").unique())
    for month, later in itertools.pairwise(months):
        if later != month + 1:
            raise UserError(f"no rows in {month + 1}: a feed needs rows in every month")
    kept = {f"{month}.csv" for month in months}
    removed = [path for path in present if path.name not in kept]
    for path in present:
        with path.open("rb") as file:
            if file.readline().strip().decode(errors="replace") != ",".join(COLUMNS):
                raise UserError(f"{path}: named like a month, but not part of a feed; choose an empty folder")
    written = update_feed(frame, folder)
    for path in removed:
        path.unlink()
    return written


def update_feed(frame: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the months of the frame, each as a whole, into a feed, and leave its other months alone.

    For callers that publish daily and know that older months do not change: the work does not grow with the
    feed. Returns the paths of the files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for month, rows in frame.groupby(frame["timestamp"].dt.to_period("M")):
        path, content = folder / f"{month}.csv", _to_csv(rows)
        if not (path.exists() and path.read_bytes() == content.encode()):
            save(content, path)
            written.append(path)
    return written


def _to_csv(month: pd.DataFrame) -> str:
    rounded = month.assign(**{column: month[column].round(2) + 0.0 for column in FLOATS})  # no -0.0
    return str(rounded.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%S", lineterminator="\n"))


def _typed(table: Table) -> pd.DataFrame:
    """Turn the text cells of month files into typed columns. Raises UserError if a row breaks a rule."""
    stamps = table.cells["timestamp"]
    parsed = pd.to_datetime(stamps.where(stamps.str.fullmatch(TIMESTAMP)), format="ISO8601", errors="coerce")
    written = "{value} is not a full hour; write it like 2011-01-31T23:00:00"
    table.require(parsed.notna(), "timestamp", written)
    inside = stamps.str.slice(0, 7) == table.path.stem
    table.require(inside, "timestamp", "{value} is not in the month of the file; move the row")
    table.require(~parsed.duplicated(), "timestamp", "{value} appears twice; remove one of the rows")
    later = parsed.diff().dt.total_seconds().fillna(1) > 0
    table.require(later, "timestamp", "{value} is earlier than the row before; sort the rows by time")

    columns: dict[str, pd.Series] = {"timestamp": parsed.astype("datetime64[us]")}
    for column in FLAGS:
        columns[column] = table.integers(column, 0, 1)
    columns["weather"] = table.integers("weather", 1, 4)
    for column in FLOATS:
        columns[column] = table.numbers(column, *POSSIBLE[column], optional=column == "humidity")
    return pd.DataFrame(columns | counts(table, "count"))[COLUMNS]


def counts(table: Table, total: str) -> dict[str, pd.Series]:
    """The columns casual, registered and count; the last is `total` in the table, which has to be the sum."""
    casual, registered = (table.integers(name, optional=True) for name in ("casual", "registered"))
    both = casual.isna() == registered.isna()
    table.require(both, "registered", "casual and registered are both filled or both empty; correct the row")
    count = table.integers(total)
    problem = "{value} is not casual + registered ({row.casual} + {row.registered}); correct the row"
    table.require((casual + registered == count).fillna(True), total, problem)
    return {"casual": casual, "registered": registered, "count": count}
