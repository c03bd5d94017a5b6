"""Reads a user's table as text: CSV with any common separator and encoding, compressed or not, or Parquet."""

import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bike_demand.core.errors import UserError
from bike_demand.data.table import parquet_cells, refuse_other_formats

LARGEST = 256 * 2**20  # bytes of text; drafting needs about ten times as much memory
MISSING = {"", "na", "n/a", "nan", "null", "none", "nil", "?", "-", "#n/a"}
SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """All cells as stripped text, empty for missing values. `notes` lists what was guessed."""

    cells: pd.DataFrame
    notes: tuple[str, ...]


def read_cells(file: Path) -> Table:
    """Read the cells of a file. Raises UserError if it is not a table."""
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    content = _opened(file)
    notes: list[str] = []
    if content.startswith(b"PAR1"):
        cells = parquet_cells(content, str(file))
    else:
        refuse_other_formats(content, str(file))
        cells = _csv(content, file, notes)
    if repeated := cells.columns[cells.columns.duplicated()].tolist():
        raise UserError(f"{file}: two columns are called {repeated[0]!r}; rename one of them")
    if len(cells.columns) < 2:
        raise UserError(f"{file}: one column; needed are the label and what it is predicted from")
    if len(cells) < 2:
        raise UserError(f"{file}: {len(cells)} rows; needed are some hundreds")
    cells = cells.apply(lambda column: column.str.strip())
    return Table(cells.mask(cells.apply(lambda column: column.str.lower().isin(MISSING)), ""), tuple(notes))


def _opened(file: Path) -> bytes:
    with file.open("rb") as opened:
        if opened.read(2) != b"\x1f\x8b":
            opened.seek(0)
            content = opened.read(LARGEST + 1)
        else:
            opened.seek(0)
            try:
                with gzip.open(opened) as inside:
                    content = inside.read(LARGEST + 1)
            except (OSError, EOFError, zlib.error):
                raise UserError(f"{file}: the compressed file is damaged or cut off") from None
    if len(content) > LARGEST:
        raise UserError(
            f"{file}: more than {LARGEST >> 20} MiB; draft from a part of it, then add months to the feed"
        )
    return content


def _csv(content: bytes, file: Path, notes: list[str]) -> pd.DataFrame:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
        notes.append("it is not UTF-8: read as Windows-1252 (Latin-1)")
    first = text.lstrip().partition("\n")[0]
    if not first:
        raise UserError(f"{file}: not a table; give CSV or Parquet")
    separator = max(SEPARATORS, key=first.count)
    if separator != ",":
        notes.append(f"columns are separated by {separator!r}")
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator))]
    header = [name or f"column {number}" for number, name in enumerate(header, 1)]
    try:
        cells = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            dtype="str",
            header=0,
            names=range(len(header)),
            index_col=False,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        message = re.sub(r"\s+", " ", str(error))
        raise UserError(f"{file}: not a table ({message}); give CSV or Parquet") from None
    return cells.fillna("").set_axis(header, axis=1)
