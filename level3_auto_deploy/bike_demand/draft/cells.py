"""Reads a user's table as text: CSV with any common separator and encoding, compressed or not, or Parquet."""

import csv
import gzip
import io
import re
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pyarrow import parquet
from pyarrow.types import is_decimal, is_primitive

from bike_demand.core.errors import UserError
from bike_demand.data.table import parquet_cells, reject_other_formats

MAX_BYTES = 256 * 2**20  # bytes of text; drafting needs about ten times as much memory
NULL_TOKENS = {"", "na", "n/a", "nan", "null", "none", "nil", "?", "-", "#n/a"}
SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class RawTable:
    """All cells as stripped text. `notes` lists what was guessed.

    `texts` are the columns that may hold numbers written as people write them: all, except for numbers of
    Parquet. `separator` is the character between columns, empty for Parquet.
    """

    cells: pd.DataFrame
    texts: list[str]
    separator: str
    notes: tuple[str, ...]


def read_raw_table(file: Path) -> RawTable:
    """Read the cells of a file. Raises UserError if it is not a table."""
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    content = _read_bytes(file)
    notes: list[str] = []
    if content.startswith(b"PAR1"):
        cells, separator = parquet_cells(content, str(file)), ""
        schema = parquet.read_schema(io.BytesIO(content))
        texts = [each.name for each in schema if not (is_primitive(each.type) or is_decimal(each.type))]
    else:
        reject_other_formats(content, str(file))
        cells, separator = _read_csv(content, file, notes)
        texts = list(cells.columns)
    if repeated := cells.columns[cells.columns.str.casefold().duplicated()].tolist():
        raise UserError(f"{file}: two columns are called {repeated[0]!r} (ignoring case); rename one of them")
    if len(cells.columns) < 2:
        raise UserError(f"{file}: only one column; a label and at least one input are needed")
    if len(cells) < 2:
        raise UserError(f"{file}: only {len(cells)} rows; a few hundred are needed for a usable model")
    cells = cells.apply(lambda column: column.str.strip())
    return RawTable(cells, texts, separator, tuple(notes))


def empty_null_tokens(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells, empty where they hold a word or sign for missing values."""
    return cells.mask(cells.apply(lambda column: column.str.lower().isin(NULL_TOKENS)), "")


def _read_bytes(file: Path) -> bytes:
    with file.open("rb") as opened:
        is_gzip = opened.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(file) if is_gzip else file.open("rb") as inside:
            content = inside.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{file}: the compressed file is damaged or cut off") from None
    if len(content) > MAX_BYTES:
        raise UserError(
            f"{file}: more than {MAX_BYTES >> 20} MiB; draft from some of the rows, then add months"
        )
    return content


def _read_csv(content: bytes, file: Path, notes: list[str]) -> tuple[pd.DataFrame, str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
        notes.append("not UTF-8: read as Windows-1252")
    text = text.lstrip("\r\n ")
    if not text:
        raise UserError(f"{file}: not a table; give CSV or Parquet")
    try:
        # A quoted name may contain separators and line breaks.
        headers = {each: next(csv.reader(io.StringIO(text), delimiter=each)) for each in SEPARATORS}
        separator = max(SEPARATORS, key=lambda each: len(headers[each]))
        names = [" ".join(name.split()) for name in headers[separator]]
        header = [name or f"column {number}" for number, name in enumerate(names, 1)]
        with warnings.catch_warnings(record=True) as longer:  # that pandas drops what is beyond the header
            warnings.simplefilter("always")
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
        records = csv.reader(io.StringIO(text), delimiter=separator) if longer else ()
        for number, record in enumerate(records, 1):
            if any(cell.strip() for cell in record[len(header) :]):
                raise UserError(
                    f"{file}: record {number} has {len(record)} values for {len(header)} names: name every"
                    " column (one may hold row names), and quote values that contain the separator"
                )
    except (csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        message = re.sub(r"\s+", " ", str(error))
        raise UserError(f"{file}: not a table ({message}); give CSV or Parquet") from None
    if separator != ",":
        notes.append(f"columns are separated by {separator!r}")
    return cells.fillna("").set_axis(header, axis=1), separator
