"""Import of the real data: `hour.csv` of the UCI Bike Sharing data set becomes a feed."""

from pathlib import Path

import pandas as pd

from ladder import UserError
from ladder.world.feedfile import COLUMNS, counts
from ladder.world.table import Table

FIRST_LINE = (
    "instant,dteday,season,yr,mnth,hr,holiday,weekday,workingday,weathersit,temp,atemp,hum,windspeed,"
    "casual,registered,cnt"
)
HEADER = FIRST_LINE.split(",")
GIVE = "; expected hour.csv"
DRAFT = f"{GIVE}, or draft a problem of its own: `ladder new 2 DEST --data"
# Data sets that are often taken for it, by columns that they have.
OTHERS = {
    "dteday,cnt,instant": f"day.csv of the UCI data set: it lacks column hr, the hours{GIVE}",
    "datetime,season,atemp,windspeed,casual,registered,count": "train.csv of Kaggle's Bike Sharing Demand:"
    " it lacks the days from the 20th on of each month, so it is no feed without gaps"
    f"{DRAFT} train.csv --label count --time datetime`",
    "datetime,season,atemp,windspeed": "test.csv of Kaggle's Bike Sharing Demand: it lacks the label, count,"
    f" and the first 19 days of each month{GIVE}",
    "timestamp,cnt,t1,t2,weather_code,is_weekend": "the London data set (london_merged.csv): it lacks casual,"
    " registered and workingday, and its weather_code has other codes than weather"
    f"{DRAFT} london_merged.csv --label cnt --time timestamp`",
    "Date,Rented Bike Count,Hour,Functioning Day": "the Seoul data set (SeoulBikeData.csv): it lacks weather,"
    " feels_like_c, workingday, casual and registered, and the days when the service was closed"
    f"{DRAFT} SeoulBikeData.csv --label 'Rented Bike Count' --time Date`",
}
FIRST_YEAR = 2011
# Dates were rewritten by spreadsheets on the way: the file's own columns yr and mnth show which style it is.
DATE_STYLES = ["%Y-%m-%d", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%Y", "%m/%d/%Y"]


def read_uci(path: Path) -> pd.DataFrame:
    """Read `hour.csv` (Fanaee-T and Gama 2014) as a feed, as `ladder.world.feedfile.read_feed` returns it.

    Normalised values are turned back into units: 47 temp - 8 and 66 atemp - 16 degrees C, 67 windspeed km/h.
    A humidity of 0 is a sensor that did not report (all of 2011-03-10 in the real file), so it becomes null.
    Raises UserError that names the line and column if the file is not that one.
    """
    found = set(_first_line(path).split(",")) if path.is_file() else set()
    for columns, what in OTHERS.items():
        if "hr" not in found and set(columns.split(",")) <= found:
            raise UserError(f"{path} line 1: this is {what}")
    table = Table(path, HEADER)
    year = table.integers("yr", 0, 20) + FIRST_YEAR
    month = table.integers("mnth", 1, 12)
    stamps = _dates(table, year, month) + pd.to_timedelta(table.integers("hr", 0, 23), unit="h")
    table.require(~stamps.duplicated(), "hr", "{value} of {row.dteday} appears twice; remove one of the rows")
    later = stamps.diff().dt.total_seconds().fillna(1) > 0
    table.require(
        later, "dteday", "{value} hour {row.hr} is earlier than the row before; sort the rows by time"
    )

    # Somewhat beyond 0 to 1, so that other years fit; a column in real units does not.
    temp, atemp = table.numbers("temp", -0.5, 1.5), table.numbers("atemp", -0.5, 1.5)
    humidity = table.numbers("hum", 0, 1)
    return pd.DataFrame(
        {
            "timestamp": stamps.astype("datetime64[us]"),
            "holiday": table.integers("holiday", 0, 1),
            "workingday": table.integers("workingday", 0, 1),
            "weather": table.integers("weathersit", 1, 4),
            "temp_c": (47 * temp - 8).round(2),
            "feels_like_c": (66 * atemp - 16).round(2),
            "humidity": humidity.where(humidity > 0).round(2),
            "windspeed_kmh": (67 * table.numbers("windspeed", 0, 1.5)).round(2),
        }
        | counts(table, "cnt")
    )[COLUMNS]


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().strip().removeprefix("\ufeff").replace('"', "")


def _dates(table: Table, year: "pd.Series[int]", month: "pd.Series[int]") -> pd.Series:
    """The dates, in the one style that agrees with the columns yr and mnth on every row."""
    texts = table.cells["dteday"]
    best = pd.Series(False, index=texts.index)
    for style in DATE_STYLES:
        dates = pd.to_datetime(texts, format=style, errors="coerce")
        agrees = (dates.dt.year == year) & (dates.dt.month == month)
        if agrees.all():
            return dates
        if agrees.sum() > best.sum():
            best = agrees
    table.require(
        best, "dteday", "{value} is no date that agrees with yr {row.yr} and mnth {row.mnth}; correct it"
    )
    raise AssertionError("some row disagrees in every style")
