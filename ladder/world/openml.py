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

    It has no date: days are counted from Saturday 2011-01-01 by the changes of `weekday`. Its temperatures
    are the normalised ones of the UCI file times 41 and 50, which is reverted; `windspeed` is km/h. It has no
    casual and registered. Values are not validated: scikit-learn compares the checksum of the version.
    """
    # A day without any rental would be skipped by weekday, never by more than six.
    weekday = frame["weekday"].astype(int)
    days = np.concatenate([[weekday.iloc[0] - 6], weekday.diff().iloc[1:] % 7]).cumsum()
    stamps = FIRST_DAY + pd.to_timedelta(days * 24 + frame["hour"].astype(int), unit="h")
    nothing = pd.array([pd.NA] * len(frame), dtype="Int64")
    return pd.DataFrame(
        {
            "timestamp": stamps.astype("datetime64[us]"),
            "holiday": (frame["holiday"].astype(str) == "True").astype("int64"),
            "workingday": (frame["workingday"].astype(str) == "True").astype("int64"),
            "weather": frame["weather"].map(WEATHER).astype("int64"),
            "temp_c": (47 * frame["temp"] / 41 - 8).round(2),
            "feels_like_c": (66 * frame["feel_temp"] / 50 - 16).round(2),
            "humidity": frame["humidity"].where(frame["humidity"] > 0).round(2),  # 0: not reported
            "windspeed_kmh": frame["windspeed"].round(2),
            "casual": nothing,
            "registered": nothing,
            "count": frame["count"].astype("int64"),
        }
    )[COLUMNS]
