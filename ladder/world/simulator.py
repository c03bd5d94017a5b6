"""The simulated world: the true rentals of a bike-share operator, calibrated on published facts."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.tseries.holiday import USFederalHolidayCalendar
from scipy.stats import poisson

from ladder import UserError
from ladder.world.feedfile import COLUMNS
from ladder.world.scenario import Growth, NewHabits, Scenario
from ladder.world.weather import autoregressive, seasonal, simulate_weather

Floats = npt.NDArray[np.float64]

DEFAULT_SEED = 12
FIRST = pd.Period("2011-01", freq="M")
LONGEST = 120  # months

# Rentals in each hour of the day, midnight first, in a typical week of the two years.
WORKING_DAY = (
    *(42, 19, 9.5, 6, 6.5, 30, 121, 338, 542, 267, 144, 164),
    *(204, 198, 182, 200, 294, 533, 509, 367, 269, 204, 150, 95),
)
DAY_OFF = (
    *(107, 85, 65, 32, 11.5, 11.5, 25, 56, 124, 194, 277, 329),
    *(373, 374, 362, 358, 353, 330, 293, 247, 189, 155, 130, 99),
)
WEEKDAY = (0.97, 1.00, 1.00, 1.03, 1.00, 1.03, 0.97)  # Monday first

# What the weather does to demand.
AT_TEMPERATURE = (-15, -5, 0, 5, 10, 15, 20, 25, 30, 35, 42)  # degrees C
TEMPERATURE_EFFECT = (0.30, 0.42, 0.53, 0.65, 0.83, 1.03, 1.12, 1.18, 1.16, 1.0, 0.8)
LEISURE = 1.3  # days off feel the temperature more than working days: exponent of the effect
COMMUTE = 0.9
WEATHER_EFFECT = np.array([1.0, 0.93, 0.66, 0.40])

# The level of demand in the middle of each month (January 2011 first), relative to the mean of the two years;
# later it stays at the last. Fitted to the published monthly means, as smooth as they allow.
GRADUAL = (
    *(0.44, 0.53, 0.54, 0.66, 0.80, 0.84, 0.84, 0.83, 0.82, 0.85, 0.90, 0.94),
    *(1.02, 1.08, 1.29, 1.22, 1.16, 1.18, 1.23, 1.29, 1.38, 1.40, 1.37, 1.40),
)
FLAT = 0.8
# What the temperature leaves of the season.
SEASON = (1.06, 1.00, 1.02, 1.02, 1.06, 1.03, 0.97, 0.97, 1.01, 1.01, 0.95, 0.90)

# Noise, as standard deviations of the logarithm.
DAY_NOISE = 0.09
HOUR_NOISE = 0.11
NIGHT_NOISE = 0.5  # few people, midnight to six


def simulate(
    scenario: Scenario | None = None, *, seed: int = DEFAULT_SEED, start: str = "2011-01", months: int = 24
) -> pd.DataFrame:
    """The true rentals in a scenario's world (without one: gradual growth, no events).

    The world always begins in January 2011 and is cut to `months` months from `start` (YYYY-MM), so that a
    window shows the same hours whatever its borders. An event changes nothing before its date, and the same
    random numbers are used after it.

    Returns a feed like `feedfile.read_feed`; hours without a rental have no row. Raises UserError for a
    period outside the world.
    """
    first = pd.Period(start, freq="M")
    if first < FIRST:
        raise UserError(f"{first} is too early: the simulated world begins with {FIRST}")
    last = first + (months - 1)
    if last >= FIRST + LONGEST:
        raise UserError(f"{last} is too far away: the simulated world ends with {FIRST + LONGEST - 1}")
    stamps = pd.date_range(FIRST.start_time, last.end_time, freq="h", unit="us")

    weather = simulate_weather(stamps, seed)
    holiday, workingday = _calendar(stamps)
    demand = _demand(stamps, weather, workingday, scenario, seed)
    uniform = np.random.default_rng([seed, 6]).random(len(stamps))
    # One random number per hour, so a higher mean never gives fewer; rounded, because the last bit of exp and
    # cos differs between processors.
    count = poisson.ppf(uniform, demand.round(4)).astype(np.int64)
    casual = _casual(stamps, count, workingday, weather["temp_c"].to_numpy(), seed)
    hours = weather.assign(
        timestamp=stamps,
        holiday=holiday.astype(np.int64),
        workingday=workingday.astype(np.int64),
        casual=pd.array(casual, dtype="Int64"),
        registered=pd.array(count - casual, dtype="Int64"),
        count=count,
    )[COLUMNS]
    return hours[(hours["timestamp"] >= first.start_time) & (hours["count"] > 0)].reset_index(drop=True)


def _calendar(stamps: pd.DatetimeIndex) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether each hour is on a federal holiday, and whether on a working day (Monday to Friday)."""
    holidays = USFederalHolidayCalendar().holidays(stamps[0], stamps[-1])
    holiday = stamps.normalize().isin(holidays)
    return holiday, (stamps.weekday < 5) & ~holiday


def _demand(
    stamps: pd.DatetimeIndex,
    weather: pd.DataFrame,
    workingday: npt.NDArray[np.bool_],
    scenario: Scenario | None,
    seed: int,
) -> Floats:
    """Expected rentals of each hour, with the noise of the day and of the hour."""
    hours, days = len(stamps), len(stamps) // 24
    usual = np.interp(weather["temp_c"], AT_TEMPERATURE, TEMPERATURE_EFFECT)
    mild = usual ** np.where(workingday, COMMUTE, LEISURE)
    damp = np.exp(-0.35 * (weather["humidity"].to_numpy() - 0.62))
    windy = np.exp(-0.005 * (weather["windspeed_kmh"].to_numpy() - 12.5))
    sky = WEATHER_EFFECT[weather["weather"].to_numpy() - 1]

    day_noise = autoregressive(np.random.default_rng([seed, 7]).standard_normal(days), 0.4).repeat(24)
    hour_noise = autoregressive(np.random.default_rng([seed, 8]).standard_normal(hours), 0.5)
    spread = np.where(stamps.hour < 6, NIGHT_NOISE, HOUR_NOISE)
    noise = np.exp(DAY_NOISE * day_noise - DAY_NOISE**2 / 2 + spread * hour_noise - spread**2 / 2)

    level = _level(stamps, scenario) * seasonal(SEASON, stamps) * np.array(WEEKDAY)[stamps.weekday]
    return np.asarray(level * _profile(stamps, workingday, scenario) * mild * damp * windy * sky * noise)


def _level(stamps: pd.DatetimeIndex, scenario: Scenario | None) -> Floats:
    """Level of demand apart from the season: the trend, times the growth of the events."""
    if scenario is None or scenario.world.trend == "gradual":
        years = stamps.year - FIRST.year
        month = 12 * years + stamps.month - 1 + (stamps.day - 1 + stamps.hour / 24) / stamps.days_in_month
        level = np.interp(np.asarray(month), np.arange(len(GRADUAL)) + 0.5, GRADUAL)
    else:
        level = np.full(len(stamps), FLAT)
    for event in scenario.events if scenario else ():
        if isinstance(event, Growth):
            level = np.where(stamps >= pd.Timestamp(event.since), level * event.factor, level)
    return np.asarray(level)


def _profile(
    stamps: pd.DatetimeIndex, workingday: npt.NDArray[np.bool_], scenario: Scenario | None
) -> Floats:
    """Usual rentals by hour of the day."""
    commute, leisure = np.array(WORKING_DAY, dtype=float), np.array(DAY_OFF, dtype=float)
    hour = stamps.hour.to_numpy()
    profile = np.where(workingday, commute[hour], leisure[hour])
    for event in scenario.events if scenario else ():
        if isinstance(event, NewHabits):
            spread = (1 - event.share) * commute + event.share * leisure * commute.sum() / leisure.sum()
            profile = np.where(workingday & (stamps >= pd.Timestamp(event.since)), spread[hour], profile)
    return np.asarray(profile)


def _casual(
    stamps: pd.DatetimeIndex,
    count: npt.NDArray[np.int64],
    workingday: npt.NDArray[np.bool_],
    temperature: Floats,
    seed: int,
) -> npt.NDArray[np.int64]:
    """The casual rentals of each hour: more on days off, in the afternoon and in warm weather."""
    hour = stamps.hour.to_numpy()
    afternoon = np.exp(-(((hour - 14.5) / 4.5) ** 2))
    share = np.where(workingday, 0.05 + 0.20 * afternoon, 0.14 + 0.26 * afternoon)
    rush = workingday & np.isin(hour, (7, 8, 9, 17, 18))
    share = share * np.where(rush, 0.6, 1.0) * np.interp(temperature, (-5, 25), (0.35, 1.15))
    rounding = np.random.default_rng([seed, 9]).random(len(stamps))
    return np.minimum(np.floor((count * share).round(6) + rounding).astype(np.int64), count)
