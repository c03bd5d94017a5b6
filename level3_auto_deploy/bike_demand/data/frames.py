"""Rows as data frames: what their columns hold, Parquet files, and the way to NumPy columns and back to rows.

Times are datetime64[us]. Numbers, and integers that may be null, are float64 with NaN.
"""

import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from bike_demand.core.current import FIELDS, NUMERIC, TIME, Inputs, Row
from bike_demand.core.problem import Columns, fields_of

_TYPES = {
    "time": pa.timestamp("us"),
    "number": pa.float64(),
    "integer": pa.int64(),
    "category": pa.int64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
}


def _schema(model: type[BaseModel]) -> pa.Schema:
    """The columns of these rows as Arrow holds them: integers and booleans stay so beside nulls."""
    return pa.schema([(name, _TYPES[field.kind]) for name, field in fields_of(model).items()])


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Rows of the feed as a file: the same rows give the same bytes with the same pyarrow."""
    table = _to_table(frame, Row)
    content = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), content)
    return content.getvalue()


def from_parquet(content: bytes) -> pd.DataFrame | None:
    """The rows of such a file; None where it is damaged, or somebody changed its columns or their order."""
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError):
        return None
    if not table.schema.equals(_schema(Row)) or not table.num_rows:
        return None
    frame = _from_table(table)
    return frame if frame[TIME].is_monotonic_increasing and frame[TIME].is_unique else None


def to_frame(rows: Sequence[BaseModel], model: type[BaseModel] = Inputs) -> pd.DataFrame:
    """Validated rows as a frame."""
    return _from_table(pa.Table.from_pylist([dict(row) for row in rows], schema=_schema(model)))


def typed(frame: pd.DataFrame, model: type[BaseModel]) -> pd.DataFrame:
    """Valid rows with the types that these columns have, numbered anew."""
    return _from_table(_to_table(frame, model))


def to_records(frame: pd.DataFrame, model: type[BaseModel] = Inputs) -> list[dict[str, Any]]:
    """Each row by its fields, as Python values: None where a value is missing."""
    found: list[dict[str, Any]] = _to_table(frame, model).to_pylist()
    return found


def _to_table(frame: pd.DataFrame, model: type[BaseModel]) -> pa.Table:
    return pa.Table.from_pandas(frame, schema=_schema(model), preserve_index=False)


def _from_table(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame


def columns_of(frame: pd.DataFrame) -> Columns:
    """The input fields of rows as `features.to_columns` gives them for rows of requests."""
    columns = {name: frame[name].to_numpy(np.float64) for name in NUMERIC}
    texts = {name: frame[name].astype(object).fillna("").to_numpy() for name in FIELDS if name not in NUMERIC}
    return columns | texts | {TIME: frame[TIME].to_numpy("datetime64[s]")}


def moments(frame: pd.DataFrame) -> list[datetime]:
    """The event times of rows."""
    return [each.to_pydatetime() for each in frame[TIME]]


def period(frame: pd.DataFrame) -> tuple[datetime, datetime]:
    """The event times of the first and the last row. Raises IndexError where there is none."""
    return frame[TIME].iloc[0].to_pydatetime(), frame[TIME].iloc[-1].to_pydatetime()


def concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Rows of one frame after those of another, numbered anew."""
    return pd.concat(list(frames), ignore_index=True)
