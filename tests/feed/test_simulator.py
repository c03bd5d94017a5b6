"""The simulated world against the published facts, and what a seed guarantees."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ladder import UserError
from ladder.world import COMMITTED_FEED
from ladder.world.feedfile import write_feed
from ladder.world.scenario import load_scenario
from ladder.world.simulator import simulate

MONTHLY = [
    *(56, 74, 88, 132, 183, 199, 190, 187, 178, 166, 142, 118),
    *(131, 149, 222, 243, 263, 282, 274, 288, 304, 281, 213, 167),
]


def monthly(frame: pd.DataFrame, column: str = "count") -> "pd.Series[float]":
    return frame.groupby(frame["timestamp"].dt.to_period("M"))[column].mean()


def test_the_committed_feed_is_what_the_simulator_makes(tmp_path: Path) -> None:
    paths = write_feed(simulate(), tmp_path)
    assert len(paths) == 24
    assert {path.name: path.read_bytes() for path in paths} == {
        path.name: path.read_bytes() for path in COMMITTED_FEED.iterdir()
    }


def test_monthly_means_are_the_published_ones(committed: pd.DataFrame) -> None:
    np.testing.assert_allclose(monthly(committed), MONTHLY, rtol=0.15)


@pytest.mark.parametrize("seed", [2, 3, 13])
def test_monthly_means_hold_for_other_seeds(seed: int) -> None:
    np.testing.assert_allclose(monthly(simulate(seed=seed)), MONTHLY, rtol=0.15)


def test_size_and_spread_are_the_published_ones(committed: pd.DataFrame) -> None:
    count = committed["count"]
    assert len(committed) == pytest.approx(17_379, rel=0.01)
    assert len(committed) < 731 * 24  # some hours pass without a rental, and have no row
    assert count.min() == 1
    assert count.mean() == pytest.approx(189.5, rel=0.03)
    assert count.std() == pytest.approx(181.4, rel=0.05)
    assert count.median() == pytest.approx(142, rel=0.08)
    assert 850 < count.max() < 1150


def test_growth_into_2012_is_gradual(committed: pd.DataFrame) -> None:
    means = monthly(committed).to_numpy()
    assert means[12:].mean() / means[:12].mean() == pytest.approx(1.64, abs=0.12)
    assert means[12] / means[11] < 1.3
    daily = committed.set_index("timestamp")["count"].resample("D").sum()
    weekly = daily["2011-11-21":"2012-02-12"].resample("7D").mean()
    assert weekly.max() / weekly.min() < 1.8  # no step between the years


@pytest.mark.parametrize(
    ("workingday", "hour", "mean"),
    [(1, 8, 477), (1, 17, 525), (1, 12, 201), (1, 3, 5), (0, 13, 373), (0, 8, 106), (0, 3, 26)],
)
def test_hours_of_the_day_have_the_published_means(
    committed: pd.DataFrame, workingday: int, hour: int, mean: float
) -> None:
    at = committed[(committed["workingday"] == workingday) & (committed["timestamp"].dt.hour == hour)]
    assert at["count"].mean() == pytest.approx(mean, rel=0.08, abs=1)


def test_working_days_have_two_peaks_and_days_off_one_hump(committed: pd.DataFrame) -> None:
    hours = committed.groupby(["workingday", committed["timestamp"].dt.hour])["count"].mean()

    def peaks(profile: "pd.Series[float]") -> list[int]:
        around = profile.rolling(5, center=True).max()
        return [int(hour) for hour in profile.index if profile[hour] == around[hour] and profile[hour] > 210]

    assert peaks(hours[1]) == [8, 17]
    assert len(peaks(hours[0])) == 1
    assert peaks(hours[0])[0] in (12, 13, 14)


def test_weather_acts_as_published(committed: pd.DataFrame) -> None:
    means = committed.groupby("weather")["count"].mean()
    assert means[1] == pytest.approx(205, rel=0.05)
    assert means[2] == pytest.approx(175, rel=0.08)
    assert means[3] == pytest.approx(112, rel=0.10)
    assert means[4] == pytest.approx(74, rel=0.35)  # a few dozen hours


def test_the_weather_is_that_of_washington(committed: pd.DataFrame) -> None:
    scaled = (monthly(committed, "temp_c") + 8) / 47
    assert scaled["2011-01"] == pytest.approx(0.20, abs=0.06)
    assert scaled["2011-07"] == pytest.approx(0.76, abs=0.04)
    assert monthly(committed, "humidity").between(0.5, 0.8).all()
    assert (monthly(committed, "windspeed_kmh") / 67).between(0.14, 0.25).all()
    shares = committed["weather"].value_counts(normalize=True)
    assert shares[2] == pytest.approx(0.26, abs=0.03)
    assert shares[3] == pytest.approx(0.08, abs=0.02)
    assert 0 < shares[4] < 0.005
    clear = committed.assign(clear=committed["weather"] == 1)
    assert monthly(clear, "clear").between(0.52, 0.88).all()
    rain = committed["weather"] >= 3
    assert committed.loc[rain, "humidity"].mean() > committed.loc[~rain, "humidity"].mean() + 0.1


def test_weather_and_temperature_persist_from_hour_to_hour(committed: pd.DataFrame) -> None:
    assert (committed["weather"].diff().fillna(0) == 0).mean() > 0.75
    assert committed["temp_c"].diff().abs().mean() < 1.2
    warmest = committed.groupby(committed["timestamp"].dt.hour)["temp_c"].mean()
    assert warmest.idxmax() in (14, 15, 16)
    assert warmest.idxmin() in (4, 5, 6)


def test_any_window_shows_the_same_hours(committed: pd.DataFrame) -> None:
    window = simulate(start="2011-11", months=3)
    inside = committed["timestamp"].between(pd.Timestamp("2011-11-01"), pd.Timestamp("2012-01-31 23:00"))
    pd.testing.assert_frame_equal(window, committed[inside].reset_index(drop=True))


def test_years_after_2012_stay_at_the_last_level(committed: pd.DataFrame) -> None:
    later = simulate(months=48)
    pd.testing.assert_frame_equal(later.head(len(committed)), committed)
    years = later.groupby(later["timestamp"].dt.year)["count"].mean()
    assert years[2013] > years[2012]
    assert years[2014] == pytest.approx(years[2013], rel=0.05)


def test_another_seed_is_another_world(committed: pd.DataFrame) -> None:
    other = simulate(seed=99, months=1)
    assert not other["count"].head(700).equals(committed["count"].head(700))


@pytest.mark.parametrize(
    ("start", "months", "says"),
    [
        ("2010-12", 24, "2010-12 is too early: the simulated world begins with 2011-01"),
        ("2020-12", 2, "2021-01 is too far away: the simulated world ends with 2020-12"),
    ],
)
def test_a_period_outside_the_world_is_refused(start: str, months: int, says: str) -> None:
    with pytest.raises(UserError) as error:
        simulate(start=start, months=months)
    assert str(error.value) == says


def test_the_calm_world_is_flat_apart_from_the_season() -> None:
    calm = simulate(load_scenario("calm"))
    years = calm.groupby(calm["timestamp"].dt.year)["count"].mean()
    assert years[2012] == pytest.approx(years[2011], rel=0.05)
