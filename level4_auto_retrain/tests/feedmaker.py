"""Makes a small feed that looks like the operator's, so that no test needs the real one."""

import math
import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

HEADER = (
    "timestamp,holiday,workingday,weather,temp_c,feels_like_c,humidity,windspeed_kmh,casual,registered,count"
)
MONTHS = ("2011-01", "2011-02", "2011-03")


def month_lines(month: str, seed: int = 0) -> list[str]:
    """The rows of a month, without the header: two peaks on working days, one hump on others."""
    dice = random.Random(f"{seed} {month}")
    stamp = datetime.strptime(month, "%Y-%m")
    lines: list[str] = []
    while f"{stamp:%Y-%m}" == month:
        working = int(stamp.weekday() < 5)
        weather = dice.choice((1, 1, 1, 2, 3))
        temp = 8 + 6 * math.sin((stamp.hour - 9) / 24 * math.tau) + dice.gauss(0, 2)
        humidity = "" if dice.random() < 0.02 else f"{min(max(dice.gauss(0.6, 0.15), 0), 1):.2f}"
        mean = 5 + _demand(stamp.hour, working) * (1.2 - 0.2 * weather)
        count = max(0, round(dice.gauss(mean, mean**0.5)))
        if count:  # an hour without any rental has no row
            casual = dice.randint(0, count // 4)
            lines.append(
                f"{stamp.isoformat()},0,{working},{weather},{temp:.2f},{temp - 1:.2f},{humidity},"
                f"{abs(dice.gauss(0, 12)):.2f},{casual},{count - casual},{count}"
            )
        stamp += timedelta(hours=1)
    return lines


def _demand(hour: int, working: int) -> float:
    peaks = ((8, 1.5, 200), (13, 4.0, 80), (17, 2.0, 200)) if working else ((13, 4.0, 170),)
    return sum(height * math.exp(-(((hour - at) / width) ** 2)) for at, width, height in peaks)


def write_feed(folder: Path, months: Iterable[str] = MONTHS, seed: int = 0) -> Path:
    """Publish these months in `folder`; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for month in months:
        write_month(folder / f"{month}.csv", month_lines(month, seed))
    return folder


def write_month(path: Path, lines: Iterable[str], header: str = HEADER) -> None:
    """Publish one month with these rows."""
    path.write_text("".join(f"{line}\n" for line in (header, *lines)), encoding="utf-8", newline="\n")
