"""The way of the real data into a feed: the UCI file and the OpenML frame, made from the committed one."""

import socket
from pathlib import Path

import pandas as pd
import pytest

from ladder import UserError
from ladder.world.feedfile import read_feed, write_feed
from ladder.world.openml import WEATHER, fetch_openml_feed, from_openml
from ladder.world.uci import HEADER, read_uci

STYLES = {
    "2011-01-31": lambda day: f"{day:%Y-%m-%d}",
    "31-01-2011": lambda day: f"{day:%d-%m-%Y}",
    "01-31-2011": lambda day: f"{day:%m-%d-%Y}",
    "31/01/2011": lambda day: f"{day:%d/%m/%Y}",
    "1/31/2011": lambda day: f"{day.month}/{day.day}/{day.year}",
}


def as_uci(frame: pd.DataFrame, style: str = "2011-01-31") -> pd.DataFrame:
    """The feed in the columns and units of the UCI file hour.csv."""
    stamps = frame["timestamp"].dt
    return pd.DataFrame(
        {
            "instant": range(1, len(frame) + 1),
            "dteday": [STYLES[style](day) for day in frame["timestamp"]],
            "season": stamps.month % 12 // 3 + 1,
            "yr": stamps.year - 2011,
            "mnth": stamps.month,
            "hr": stamps.hour,
            "holiday": frame["holiday"],
            "weekday": (stamps.weekday + 1) % 7,
            "workingday": frame["workingday"],
            "weathersit": frame["weather"],
            "temp": (frame["temp_c"] + 8) / 47,
            "atemp": (frame["feels_like_c"] + 16) / 66,
            "hum": frame["humidity"].fillna(0),
            "windspeed": frame["windspeed_kmh"] / 67,
            "casual": frame["casual"],
            "registered": frame["registered"],
            "cnt": frame["count"],
        }
    )[HEADER]


def as_openml(frame: pd.DataFrame) -> pd.DataFrame:
    """The feed as the OpenML data set shows it: temperatures normalised, then times 41 and 50; no date."""
    stamps = frame["timestamp"].dt
    names = {number: name for name, number in WEATHER.items()}
    return pd.DataFrame(
        {
            "season": (stamps.month % 12 // 3).map(["winter", "spring", "summer", "fall"].__getitem__),
            "year": (stamps.year - 2011).astype("category"),
            "month": stamps.month,
            "hour": stamps.hour,
            "holiday": frame["holiday"].map({0: "False", 1: "True"}).astype("category"),
            "weekday": ((stamps.weekday + 1) % 7).astype("category"),
            "workingday": frame["workingday"].map({0: "False", 1: "True"}).astype("category"),
            "weather": frame["weather"].map(names).astype("category"),
            "temp": 41 * (frame["temp_c"] + 8) / 47,
            "feel_temp": 50 * (frame["feels_like_c"] + 16) / 66,
            "humidity": frame["humidity"].fillna(0),
            "windspeed": frame["windspeed_kmh"],
            "count": frame["count"],
        }
    )


def save(frame: pd.DataFrame, folder: Path) -> Path:
    path = folder / "hour.csv"
    frame.to_csv(path, index=False, lineterminator="\n")
    return path


@pytest.mark.parametrize("style", STYLES)
def test_hour_csv_becomes_the_feed_in_every_date_style(
    tmp_path: Path, committed: pd.DataFrame, style: str
) -> None:
    frame = read_uci(save(as_uci(committed, style), tmp_path))
    pd.testing.assert_frame_equal(frame, committed)


def test_what_is_imported_is_a_valid_feed(tmp_path: Path, committed: pd.DataFrame) -> None:
    frame = read_uci(save(as_uci(committed), tmp_path))
    write_feed(frame, tmp_path / "feed")
    pd.testing.assert_frame_equal(read_feed(tmp_path / "feed"), frame)


def test_the_first_published_row_has_the_published_units(tmp_path: Path) -> None:
    path = tmp_path / "hour.csv"
    rows = [
        "1,2011-01-01,1,0,1,0,0,6,0,1,0.24,0.2879,0.81,0.0,3,13,16",
        "2,2011-01-01,1,0,1,1,0,6,0,1,0.22,0.2727,0,0.0896,8,32,40",
    ]
    path.write_text("\r\n".join([",".join(HEADER), *rows, ""]), encoding="utf-8", newline="")
    frame = read_uci(path)
    first = frame.iloc[0]
    assert (first["temp_c"], first["feels_like_c"], first["windspeed_kmh"]) == (3.28, 3.0, 0.0)
    assert frame["windspeed_kmh"].tolist() == [0.0, 6.0]
    assert frame["humidity"].isna().tolist() == [False, True]  # 0 is a sensor that did not report


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("dteday", "31.01.2011", "'31.01.2011' is no date that agrees with yr 0 and mnth 1; correct it"),
        ("dteday", "2011-02-01", "'2011-02-01' is no date that agrees with yr 0 and mnth 1; correct it"),
        ("yr", "2011", "'2011' is not between 0 and 20; correct it"),
        ("hr", "24", "'24' is not between 0 and 23; correct it"),
        ("hr", "0", "'0' of 2011-01-01 appears twice; remove one of the rows"),
        ("weathersit", "5", "'5' is not between 1 and 4; correct it"),
        ("temp", "14.2", "'14.2' is not between -0.5 and 1.5; correct it"),
        ("hum", "81", "'81' is not between 0 and 1; correct it"),
        ("windspeed", "calm", "'calm' is not a number; correct it"),
        ("cnt", "9999", "'9999' is not casual + registered (0 + 1); correct the row"),
    ],
)
def test_a_wrong_value_in_hour_csv_is_refused_with_line_and_column(
    tmp_path: Path, committed: pd.DataFrame, column: str, value: str, says: str
) -> None:
    frame = as_uci(committed.head(48)).astype("str")
    frame.loc[3, column] = value
    path = save(frame, tmp_path)
    with pytest.raises(UserError) as error:
        read_uci(path)
    assert str(error.value) == f"{path} line 5: column {column}: {says}"


def test_day_csv_is_distinguished_from_hour_csv(tmp_path: Path, committed: pd.DataFrame) -> None:
    path = save(as_uci(committed.head(48)).drop(columns="hr"), tmp_path)
    with pytest.raises(UserError, match=r"this is day\.csv .* lacks column hr.*; expected hour\.csv"):
        read_uci(path)


@pytest.mark.parametrize(
    ("name", "text", "lacks"),
    [
        (
            "train.csv of Kaggle",
            "datetime,season,holiday,workingday,weather,temp,atemp,humidity,windspeed,casual,registered,count\n"
            "2011-01-01 00:00:00,1,0,0,1,7.5,11.2,70,0.0,4,11,15\n",
            "days from the 20th",
        ),
        (
            "test.csv of Kaggle",
            "datetime,season,holiday,workingday,weather,temp,atemp,humidity,windspeed\n"
            "2011-01-20 00:00:00,1,0,1,1,7.5,11.2,70,0.0\n",
            "label",
        ),
        (
            "London",
            '"timestamp","cnt","t1","t2","hum","wind_speed","weather_code","is_holiday","is_weekend","season"\n'
            '"2015-01-04 00:00:00","15",2.5,1.5,90,5,1.0,0.0,1.0,3.0\n',
            "workingday",
        ),
        (
            "Seoul",
            "Date,Rented Bike Count,Hour,Temperature(°C),Humidity(%),Wind speed (m/s),Visibility (10m),"
            "Dew point temperature(°C),Solar Radiation (MJ/m2),Rainfall(mm),Snowfall (cm),Seasons,Holiday,"
            "Functioning Day\n"
            "01/12/2017,15,0,-4.5,40,2.0,2000,-17.0,0,0,0,Winter,No Holiday,Yes\n",
            "feels_like_c",
        ),
    ],
)
def test_other_bike_data_are_named_with_what_they_lack(
    name: str, text: str, lacks: str, tmp_path: Path
) -> None:
    path = tmp_path / "hour.csv"
    path.write_bytes(text.encode("cp1252"))  # as Seoul's is
    with pytest.raises(UserError, match=f"this is .*{name}.* lacks .*{lacks}.*; expected hour") as refusal:
        read_uci(path)
    assert "\n" not in str(refusal.value)


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "titanic.csv"
    path.write_text("pclass,survived\n1,0\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"titanic\.csv line 1: the header must be instant,"):
        read_uci(path)


def test_a_cut_off_hour_csv_is_refused(tmp_path: Path, committed: pd.DataFrame) -> None:
    path = save(as_uci(committed.head(48)), tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        UserError, match=r"line 49: has no line end: the file is truncated, download it again"
    ):
        read_uci(path)


def test_a_missing_hour_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hour\.csv: cannot be read"):
        read_uci(tmp_path / "hour.csv")


def test_the_openml_frame_becomes_the_feed_without_casual_and_registered(committed: pd.DataFrame) -> None:
    frame = from_openml(as_openml(committed))
    assert frame["casual"].isna().all()
    assert frame["registered"].isna().all()
    common = [column for column in committed if column not in ("casual", "registered")]
    pd.testing.assert_frame_equal(frame[common], committed[common])
    assert frame.dtypes.equals(committed.dtypes)


def test_openml_and_uci_give_the_same_feed(tmp_path: Path, committed: pd.DataFrame) -> None:
    common = [column for column in committed if column not in ("casual", "registered")]
    uci = read_uci(save(as_uci(committed), tmp_path))
    pd.testing.assert_frame_equal(from_openml(as_openml(committed))[common], uci[common])


def test_the_first_row_of_the_openml_data_set_has_the_units_of_the_uci_file(committed: pd.DataFrame) -> None:
    shown = as_openml(committed.head(24))
    shown.loc[0, ["temp", "feel_temp", "humidity", "windspeed"]] = [9.84, 14.395, 0.81, 6.0032]
    first = from_openml(shown).iloc[0]
    assert (first["temp_c"], first["feels_like_c"], first["humidity"]) == (3.28, 3.0, 0.81)
    assert first["windspeed_kmh"] == 6.0


def test_without_a_network_fetching_says_so_and_leaves_the_time_out_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nobody listens: no network, wherever this runs
    for proxy in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    with pytest.raises(
        UserError, match=r"cannot be fetched .*; check the network, or use `ladder feed import"
    ):
        fetch_openml_feed()
    assert socket.getdefaulttimeout() is None
