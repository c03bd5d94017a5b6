"""Fetches the real data from OpenML through scikit-learn, and converts them to a feed."""

import socket
import warnings
from http.client import HTTPException

import numpy as np
import pandas as pd

from ladder import UserError
from ladder.world.feedfile import COLUMNS

NAME, VERSION = "Bike_Sharing_Demand", 2
SOURCE = f"OpenML data set {NAME} version {VERSION}"
WEATHER = {"clear": 1, "misty": 2, "rain": 3, "heavy_rain": 4}
FIRST_DAY = pd.Timestamp("2011-01-01")  # a Saturday, weekday 6 in the data set
TIMEOUT = 6.0  # seconds without a response; it is tried twice


def fetch_openml_feed() -> pd.DataFrame:
    """Download the data set as a feed. Raises UserError if the network or the data set fails."""
    from sklearn.datasets import fetch_openml  # slow to import, and needed here only

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # scikit-learn sets none
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "Retrying..."; the final failure is reported below
            bunch = fetch_openml(
                NAME, version=VERSION, as_frame=True, parser="pandas", cache=False, n_retries=1, delay=0.5
            )
    except (OSError, HTTPException, ValueError) as error:  # no network, no response, or another data set
        reason = str(getattr(error, "reason", None) or error).splitlines()[0]
        raise UserError(
            f"{SOURCE}: cannot be fetched ({reason}); check the network, or use `ladder feed import hour.csv`"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return from_openml(bunch.frame)


def from_openml(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert the data set's frame (one row per hour, in order) to a feed.

    It has no date: days are counted from Saturday 2011-01-01 by the changes of `weekday`, and must then agree
    with its `year` and `month`. Its temperatures are the normalised ones of the UCI file times 41 and 50,
    which is reverted; `windspeed` is km/h. It has no casual and registered. Raises UserError that names the
    row and column otherwise.
    """
    frame = frame.reset_index(drop=True)
    weekday, hour = _numbers(frame, "weekday", 0, 6), _numbers(frame, "hour", 0, 23)
    weather = _texts(frame, "weather").map(WEATHER)
    _require(weather.notna(), "weather", frame)
    flags = {name: _texts(frame, name).map({"True": 1, "False": 0}) for name in ("holiday", "workingday")}
    for name, flag in flags.items():
        _require(flag.notna(), name, frame)

    # A day without any rental would be skipped by weekday, never by more than six.
    days = np.concatenate([[weekday.iloc[0] - 6], weekday.diff().iloc[1:] % 7]).cumsum()
    stamps = FIRST_DAY + pd.Series(pd.to_timedelta(days, unit="D")) + pd.to_timedelta(hour, unit="h")
    year = _numbers(frame, "year", 0, 2100)
    _require((stamps.dt.year == year) | (stamps.dt.year == year + FIRST_DAY.year), "year", frame)
    _require(stamps.dt.month == _numbers(frame, "month", 1, 12), "month", frame)
    _require(stamps.diff().dt.total_seconds().fillna(1) > 0, "hour", frame)

    humidity = _numbers(frame, "humidity", 0, 1)
    nothing = pd.array([pd.NA] * len(frame), dtype="Int64")
    return pd.DataFrame(
        {
            "timestamp": stamps.astype("datetime64[us]"),
            "holiday": flags["holiday"].astype("int64"),
            "workingday": flags["workingday"].astype("int64"),
            "weather": weather.astype("int64"),
            "temp_c": (47 * _numbers(frame, "temp", -20, 62) / 41 - 8).round(2),
            "feels_like_c": (66 * _numbers(frame, "feel_temp", -25, 75) / 50 - 16).round(2),
            "humidity": humidity.where(humidity > 0).round(2),  # 0: the sensor did not report
            "windspeed_kmh": _numbers(frame, "windspeed", 0, 100).round(2),
            "casual": nothing,
            "registered": nothing,
            "count": _numbers(frame, "count", 0, 1e6).astype("int64"),
        }
    )[COLUMNS]


def _texts(frame: pd.DataFrame, column: str) -> "pd.Series[str]":
    if column not in frame.columns:
        raise UserError(f"{SOURCE}: column {column} is missing; use `ladder feed import hour.csv`")
    return frame[column].astype(str)


def _numbers(frame: pd.DataFrame, column: str, low: float, high: float) -> "pd.Series[float]":
    numbers = pd.to_numeric(_texts(frame, column), errors="coerce").astype(float)
    _require(numbers.between(low, high), column, frame)
    return numbers


def _require(good: "pd.Series[bool]", column: str, frame: pd.DataFrame) -> None:
    if not good.all():
        row = int(np.argmin(good.to_numpy(dtype=bool)))
        raise UserError(
            f"{SOURCE} row {row + 1}: column {column}: {str(frame[column].iloc[row])!r} is outside the "
            "documented range; use `ladder feed import hour.csv`"
        )
