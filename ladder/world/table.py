"""Strict reading of CSV files: text cells first, then columns, every error with its file and line."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ladder import UserError


class Table:
    """The text cells of a CSV file.

    Raises UserError for a file that is empty, cut off, not text, or has other columns. Fields must not
    contain line breaks.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, list(columns)
        self.cells = pd.DataFrame(self._rows(path), columns=self.columns, dtype="str")

    def _rows(self, path: Path) -> list[list[str]]:
        """Split the file into rows of cells; the first is on line 2."""
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); give another file") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as plain CSV") from error
        if not text.strip():
            raise UserError(f"{path}: the file is empty; download it again")
        cells = csv.reader(io.StringIO(text.rstrip(), newline=""), skipinitialspace=True)
        try:
            header, *rows = [[cell.strip() for cell in record] for record in cells]
        except csv.Error as error:
            raise UserError(f"{path}: not CSV ({error}); give another file") from error
        if len(header) == 1 and (separators := set(";\t|") & set(header[0])):
            raise UserError(
                f"{path} line 1: the separator is {min(separators)!r}; separate columns by commas"
            )
        if [name.casefold() for name in header] != [name.casefold() for name in self.columns]:
            other = ", ".join(sorted(set(header) ^ set(self.columns))) or "their order"
            raise UserError(
                f"{path} line 1: the header must be {','.join(self.columns)}; missing or unknown: {other}"
            )
        if not rows:
            raise UserError(f"{path}: has a header but no rows; download it again")
        if text.rstrip(" ")[-1] not in "\r\n":
            raise UserError(
                f"{path} line {len(rows) + 1}: has no line end: the file is truncated, download it again"
            )
        for number, row in enumerate(rows, start=2):
            if len(row) != len(self.columns):
                raise UserError(
                    f"{path} line {number}: {len(row)} values, not {len(self.columns)}; correct the line"
                )
        return rows

    def require(self, good: "pd.Series[bool]", column: str, problem: str) -> None:
        """Raise UserError for the first row in which `good` is false.

        `problem` says what is wrong and what to do; `{value}` in it is the cell, `{row.NAME}` another one.
        """
        if not good.all():
            row = int(np.argmin(good.to_numpy(dtype=bool)))
            value = repr(str(self.cells.at[row, column])[:40])
            text = problem.format(value=value, row=self.cells.loc[row])
            raise UserError(f"{self.path} line {row + 2}: column {column}: {text}")

    def numbers(self, column: str, low: float, high: float, *, optional: bool = False) -> "pd.Series[float]":
        """A column of numbers from low to high; NaN for an empty cell of an optional column."""
        texts = self._filled(column, optional)
        numbers = pd.to_numeric(texts, errors="coerce").astype(float)
        self.require(numbers.notna() | texts.isna(), column, "{value} is not a number; correct it")
        possible = numbers.between(low, high) | texts.isna()
        self.require(possible, column, f"{{value}} is not between {low:g} and {high:g}; correct it")
        return numbers

    def integers(
        self, column: str, low: int = 0, high: int = 999_999_999, *, optional: bool = False
    ) -> pd.Series:
        """A column of whole numbers from low to high as int64; as Int64 with nulls if it is optional."""
        texts = self._filled(column, optional)
        whole = texts.isna() | texts.str.fullmatch(r"-?[0-9]{1,15}")
        self.require(whole, column, "{value} is not a whole number; correct it")
        numbers = pd.to_numeric(texts).astype("Int64")
        possible = numbers.between(low, high) | texts.isna()
        self.require(possible, column, f"{{value}} is not between {low} and {high}; correct it")
        return numbers if optional else numbers.astype("int64")

    def _filled(self, column: str, optional: bool) -> "pd.Series[str]":
        """The cells of a column, null where they are empty."""
        texts = self.cells[column].where(self.cells[column] != "")
        if not optional:
            self.require(texts.notna(), column, "is empty; fill it in")
        return texts
