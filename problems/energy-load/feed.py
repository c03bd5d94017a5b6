"""Simulates this world, half-hour by half-hour, and the faults in its reporting.

Times are local: the hour that clocks skip in March is not there, and of the hour that they repeat in October
the second pass has its offset. Event: a factory in the west closes. Fault: kW are reported for MW.
"""

import math
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

START, END = date(2023, 1, 1), date(2023, 7, 1)  # of the sample; the world goes on
TIME, LABEL, DELAY = "period_start", "load_mw", timedelta(minutes=30)
ZONE, HALF_HOUR = ZoneInfo("Europe/Berlin"), timedelta(minutes=30)
HOLIDAYS = {  # of 2023 only: later years have none
    date(2023, month, day)
    for month, day in ((1, 1), (4, 7), (4, 10), (5, 1), (5, 18), (5, 29), (10, 3), (12, 25), (12, 26))
}
# By region: MW on average without weather, the factory's, the capacity of solar roofs, temperature offset.
REGIONS = {1: (900.0, 60.0, 180.0, -1.5), 2: (650.0, 40.0, 220.0, 2.0), 3: (300.0, 110.0, 140.0, 0.0)}
CLOSES = 3  # the region in which the event takes the factory away
MISSING_SHARE, OUTAGE_PERIODS = 0.02, 4  # of the half-hours; so many in a row


def happened(end: date, event: date | None = None) -> Iterator[dict[str, Any]]:
    """The rows from START to before `end`, ascending; the factory closes on `event`."""
    anomaly, cloud = 0.0, 0.5
    day = START
    while day < end:
        rng = random.Random(day.isoformat())
        anomaly = 0.8 * anomaly + rng.gauss(0, 1.8)
        cloud = min(1.0, max(0.1, 0.5 * cloud + 0.5 * rng.random()))
        silent = {
            region: rng.randrange(48)
            for region in REGIONS
            if rng.random() < 48 * MISSING_SHARE / OUTAGE_PERIODS
        }
        noise = dict.fromkeys(REGIONS, 0.0)
        for period, moment in enumerate(half_hours(day)):
            for region in REGIONS:
                noise[region] = 0.7 * noise[region] + rng.gauss(0, 0.012)
                is_known = not 0 <= period - silent.get(region, 99) < OUTAGE_PERIODS
                is_open = region != CLOSES or event is None or day < event
                yield _row(moment, region, anomaly, cloud, noise[region], is_known, is_open)
        day += timedelta(days=1)


def half_hours(day: date) -> Iterator[datetime]:
    """The local times at which the half-hours of a day begin: 48, or two less or more where clocks change."""
    moment = datetime.combine(day, time(), ZONE).astimezone(UTC)
    while (local := moment.astimezone(ZONE)).date() == day:
        yield local
        moment += HALF_HOUR


def _row(
    moment: datetime,
    region: int,
    anomaly: float,
    cloud: float,
    noise: float,
    is_known: bool,
    is_open: bool,
) -> dict[str, Any]:
    base, factory, roofs, warmer = REGIONS[region]
    hour, season = (
        moment.hour + moment.minute / 60,
        math.cos(2 * math.pi * (moment.timetuple().tm_yday - 20) / 365),
    )
    is_off = moment.weekday() >= 5 or moment.date() in HOLIDAYS
    temperature = 10 - 9 * season - 4 * math.cos(2 * math.pi * (hour - 3) / 24) + anomaly + warmer
    # Longer and brighter days in summer.
    light = math.sin(math.pi * (hour - 6 - 1.5 * season) / (12 - 3 * season)) if 5 < hour < 21 else 0.0
    solar = roofs * max(0.0, light) * (0.65 - 0.3 * season) * (1.15 - cloud)
    morning, evening = math.exp(-(((hour - 9.5) / 3.5) ** 2)), math.exp(-(((hour - 18.5) / 3) ** 2))
    shape = 0.72 + (0.16 if is_off else 0.34) * morning + 0.34 * evening
    weather = 1 + 0.014 * max(0.0, 14 - temperature) + 0.02 * max(0.0, temperature - 22)
    load = base * shape * weather * (1 + noise) + factory * is_open - solar
    return {
        TIME: (moment if moment.fold else moment.replace(tzinfo=None)).isoformat(),
        "region": region,
        "holiday": moment.date() in HOLIDAYS,
        "solar_mw": round(solar, 1),
        "temperature_c": round(temperature, 1) if is_known else None,
        LABEL: round(max(0.0, load), 1),
    }


def reported(row: dict[str, Any]) -> dict[str, Any]:
    """The row as it is reported during the fault."""
    return row | {name: round(row[name] * 1000, 1) for name in ("solar_mw", LABEL)}
