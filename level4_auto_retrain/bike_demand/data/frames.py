"""Rows as data frames: column types, Parquet files, and conversion to NumPy columns and back to rows.

Times are datetime64[us], numbers and nullable integers float64 with NaN, other integers int64.
"""

import io
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from bike_demand.core.current import (
    CADENCE,
    DELAY,
    ID_COLUMNS,
    KEYS,
    LABEL,
    LABEL_COLUMNS,
    NUMERIC_FIELDS,
    PROBLEM,
    TIME,
    ZONE,
    Inputs,
    Row,
    RowId,
)
from bike_demand.core.problem import DAY, Array, Columns, Floats, fields_of
from bike_demand.data.model_inputs import FEATURES, NUMERIC_FEATURES, TEXT_FIELDS

_TYPES = {
    "time": pa.timestamp("us"),
    "number": pa.float64(),
    "integer": pa.int64(),
    "category": pa.int64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
}


def _schema(model: type[BaseModel]) -> pa.Schema:
    """The Arrow schema of these rows, in which nullable integers and booleans keep their type."""
    return pa.schema([(name, _TYPES[field.kind]) for name, field in fields_of(model).items()])


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Write rows of the feed as Parquet: equal rows give equal bytes with the same version of pyarrow."""
    table = _to_table(frame, Row)
    content = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), content)
    return content.getvalue()


def from_parquet(content: bytes) -> pd.DataFrame:
    """Read rows written by `to_parquet`. Raises ValueError, which says what to do, if there are others."""
    damaged = "damaged or changed since it was ingested; delete it and run ingest again"
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError):
        raise ValueError(damaged) from None
    if not table.schema.equals(_schema(Row)):
        reason = "its columns are not the fields in problem/schema.py"
        raise ValueError(f"{reason}; run ingest again (for older data use `reproduce`)")
    frame = _from_table(table)
    if frame.empty or not frame[TIME].is_monotonic_increasing or frame.duplicated([*ID_COLUMNS]).any():
        raise ValueError(damaged)
    return frame


def to_frame(rows: Sequence[BaseModel], model: type[BaseModel] = Inputs) -> pd.DataFrame:
    """Validated rows as a data frame."""
    return _from_table(pa.Table.from_pylist([dict(row) for row in rows], schema=_schema(model)))


def cast_to_model(frame: pd.DataFrame, model: type[BaseModel]) -> pd.DataFrame:
    """Valid rows with the column types of the model and a new index."""
    return _from_table(_to_table(frame, model))


def to_records(frame: pd.DataFrame, model: type[BaseModel] = Inputs) -> list[dict[str, Any]]:
    """Rows as dictionaries of Python values, with None for missing values."""
    found: list[dict[str, Any]] = _to_table(frame, model).to_pylist()
    return found


def _to_table(frame: pd.DataFrame, model: type[BaseModel]) -> pa.Table:
    return pa.Table.from_pandas(frame, schema=_schema(model), preserve_index=False)


def _from_table(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame


def input_columns(frame: pd.DataFrame) -> Columns:
    """The input columns of a frame, in the form that `model_inputs.to_columns` returns for request rows."""
    columns = {name: frame[name].to_numpy(np.float64) for name in NUMERIC_FIELDS}
    texts = {name: frame[name].astype(object).fillna("").to_numpy() for name in TEXT_FIELDS}
    times = frame[TIME]
    if ZONE is not None:
        times = times.dt.tz_localize("UTC").dt.tz_convert(ZONE).dt.tz_localize(None)
    return columns | texts | {TIME: times.to_numpy("datetime64[s]")}


def features_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The features of rows, by name, as passed to scikit-learn: numbers as float32, then texts."""
    features = PROBLEM.features(input_columns(frame))
    frame = pd.DataFrame({name: features[name] for name in FEATURES})
    return frame.astype(dict.fromkeys(NUMERIC_FEATURES, np.float32))


def event_times(frame: pd.DataFrame) -> list[datetime]:
    """The event times of rows, without an offset: in UTC if the problem has a time zone."""
    found: list[datetime] = frame[TIME].to_numpy("datetime64[us]").tolist()
    return found


def keys_of(frame: pd.DataFrame) -> "pd.Series[str]":
    """The key of each row, as returned by `key_of`; empty if the problem has none."""
    if not KEYS:
        return pd.Series("", index=frame.index, dtype="str")
    texts = frame[list(KEYS)].astype("str")
    return texts[KEYS[0]].str.cat(texts[list(KEYS[1:])], sep="/")


def row_ids(frame: pd.DataFrame) -> list[RowId]:
    """Event time and key of each row."""
    return list(zip(event_times(frame), keys_of(frame), strict=True))


def has_row_id(frame: pd.DataFrame, rows: Collection[RowId]) -> "pd.Series[bool]":
    """Whether each row is one of `rows`, given by event time and key."""
    if not KEYS:
        return frame[TIME].isin([moment for moment, _ in rows])
    found = pd.MultiIndex.from_arrays([frame[TIME], keys_of(frame)]).isin(list(rows)) if rows else False
    return pd.Series(found, index=frame.index, dtype=bool)


def rows_per_day(frame: pd.DataFrame) -> int:
    """Expected rows per day: cadence times keys, or the median for irregular events; at least 1."""
    if CADENCE is not None:
        return DAY // CADENCE * max(1, frame.groupby(list(KEYS)).ngroups if KEYS else 1)
    return max(1, int(frame.groupby(frame[TIME].dt.normalize()).size().median())) if len(frame) else 1


def by_key(frame: pd.DataFrame) -> list[Array]:
    """The row positions of each key, in row order."""
    if not KEYS:
        return [np.arange(len(frame))]
    return [np.sort(positions) for positions in frame.groupby(list(KEYS)).indices.values()]


def mean_loss(losses: Floats, frame: pd.DataFrame) -> float:
    """The mean loss, or the mean of the mean losses per value of the problem's `average_by`."""
    if PROBLEM.average_by is None:
        return float(losses.mean())
    return float(pd.Series(losses).groupby(frame[PROBLEM.average_by].to_numpy()).mean().mean())


def with_label(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with a known label."""
    is_known = frame[LABEL].notna()
    return frame if is_known.all() else frame[is_known]


def as_of_view(frame: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """The rows before `as_of`, without the labels that were not yet known then."""
    rows = frame[frame[TIME] < as_of]
    is_late = rows[TIME] + DELAY > as_of
    if is_late.any():
        rows = rows.assign(**{name: rows[name].where(~is_late) for name in LABEL_COLUMNS})
    return rows


def period_end(frame: pd.DataFrame) -> datetime:
    """The end of the last row's period; for irregular events its time. Raises IndexError without rows."""
    return time_range(frame)[1] + (CADENCE or timedelta(0))


def time_range(frame: pd.DataFrame) -> tuple[datetime, datetime]:
    """The event times of the first and the last row. Raises IndexError without rows."""
    return frame[TIME].iloc[0].to_pydatetime(), frame[TIME].iloc[-1].to_pydatetime()


def concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate frames, with a new index."""
    return pd.concat(list(frames), ignore_index=True)
