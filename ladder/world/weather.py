"""The simulated weather: hourly temperature, humidity, wind and category in a city like Washington."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.signal import lfilter
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]

# One value for each month, January first, reached in the middle of the month.
# Degrees C: daily mean, and its standard deviation.
TEMPERATURE = (1.0, 5.0, 9.5, 14.2, 19.6, 24.6, 28.0, 25.9, 21.2, 14.8, 9.2, 5.2)
DAY_TO_DAY = (3.6, 3.6, 3.5, 3.3, 2.9, 2.5, 2.1, 2.1, 2.6, 3.0, 3.4, 3.6)
HUMIDITY = (0.58, 0.57, 0.58, 0.59, 0.68, 0.59, 0.60, 0.64, 0.70, 0.68, 0.62, 0.65)
WIND = (13.6, 14.4, 14.9, 15.2, 12.6, 12.4, 11.2, 11.6, 11.4, 11.8, 12.6, 12.0)  # km/h
CLEAR = (0.64, 0.65, 0.62, 0.61, 0.60, 0.74, 0.82, 0.75, 0.63, 0.64, 0.70, 0.60)  # share of hours
# Light or heavy rain, share of hours.
RAIN = (0.08, 0.08, 0.09, 0.09, 0.08, 0.06, 0.05, 0.06, 0.10, 0.09, 0.07, 0.10)
HEAVY = 0.0025  # share of hours

# By weather category: clear, mist, light rain or snow, heavy rain.
DIURNAL_RANGE = np.array([1.0, 0.75, 0.5, 0.4])
COOLER = np.array([0.3, 0.0, -1.8, -2.5])
HUMIDER = np.array([-0.06, 0.06, 0.21, 0.26])


def seasonal(values: tuple[float, ...], stamps: pd.DatetimeIndex) -> Floats:
    """Twelve monthly values at each stamp, linear between the middles of the months, the same each year."""
    day_start = stamps.day + stamps.hour / 24 - 1
    place = stamps.month - 1 + day_start / stamps.days_in_month
    return np.asarray(np.interp(np.asarray(place), np.arange(12) + 0.5, values, period=12))


def autoregressive(noise: Floats, persistence: float) -> Floats:
    """First-order autoregressive series of standard deviation 1 from standard normal noise."""
    fresh = (1 - persistence**2) ** 0.5
    return np.asarray(lfilter([fresh], [1.0, -persistence], noise))


def simulate_weather(stamps: pd.DatetimeIndex, seed: int) -> pd.DataFrame:
    """Weather for whole days of hours from the first day of the world.

    Every series has its own random stream and is generated forward in time, so that a longer run begins with
    the same hours. Values are rounded before use: the last bit of exp and cos differs between processors.

    Returns columns weather (1 to 4), temp_c, feels_like_c (degrees C), humidity (0 to 1), windspeed_kmh.
    """
    hours, days = len(stamps), len(stamps) // 24
    category = _category(stamps, np.random.default_rng([seed, 1]).standard_normal(hours))

    # One day more than requested: the evening of the last day already leans towards the next.
    anomaly = autoregressive(np.random.default_rng([seed, 2]).standard_normal(days + 1), 0.5)
    noon = np.arange(days + 1) * 24 + 12
    hour = stamps.hour.to_numpy()
    wobble = autoregressive(np.random.default_rng([seed, 3]).standard_normal(hours), 0.9)
    warmth = _diurnal(hour)
    temperature = (
        seasonal(TEMPERATURE, stamps)
        + seasonal(DAY_TO_DAY, stamps) * np.interp(np.arange(hours), noon, anomaly)
        + 4.0 * warmth * DIURNAL_RANGE[category]
        + COOLER[category]
        + 0.5 * wobble
    ).round(1)

    damp = autoregressive(np.random.default_rng([seed, 4]).standard_normal(hours), 0.95)
    humidity = seasonal(HUMIDITY, stamps) - 0.13 * warmth + HUMIDER[category] + 0.10 * damp
    humidity = humidity.clip(0.16, 1.0).round(2)

    gust = autoregressive(np.random.default_rng([seed, 5]).standard_normal(hours), 0.85)
    wind = seasonal(WIND, stamps) * 1.03 * (1 + 0.2 * warmth) * np.exp(0.55 * gust - 0.55**2 / 2)
    wind = np.where(wind < 5, 0.0, wind.clip(max=57)).round(1)  # the station reports a light breeze as calm

    return pd.DataFrame(
        {
            "weather": category + 1,
            "temp_c": temperature,
            "feels_like_c": _feels_like(temperature, humidity, wind),
            "humidity": humidity,
            "windspeed_kmh": wind,
        }
    )


def _category(stamps: pd.DatetimeIndex, noise: Floats) -> npt.NDArray[np.int64]:
    """0 clear to 3 heavy: a persistent series cut at the quantiles that give each month its shares."""
    series = autoregressive(noise, 0.84).round(9)
    rain = seasonal(RAIN, stamps)
    cuts = np.stack([ndtri(seasonal(CLEAR, stamps)), ndtri(1 - rain), np.full(len(stamps), ndtri(1 - HEAVY))])
    return np.asarray((series > cuts.round(9)).sum(axis=0), dtype=np.int64)


def _diurnal(hour: npt.NDArray[np.int32]) -> Floats:
    """-1 around sunrise to 1 in the middle of the afternoon, mean 0: a slow rise and a slower fall."""
    angle = 2 * np.pi * (hour - 15) / 24
    return np.asarray(0.93 * np.cos(angle) + 0.15 * np.cos(2 * angle + 0.9))


def _feels_like(temperature: Floats, humidity: Floats, wind: Floats) -> Floats:
    """Apparent temperature in degrees C (Steadman 1994, without sun): warmer when humid, colder in wind."""
    vapour_pressure = humidity * 6.105 * np.exp(17.27 * temperature / (237.7 + temperature))
    return np.asarray((temperature + 0.33 * vapour_pressure - 0.70 * wind / 3.6 - 4.0).round(1))
