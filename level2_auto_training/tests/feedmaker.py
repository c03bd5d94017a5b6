"""Makes a small feed of the toy problem, like an operator's, so that no test needs a real one."""

import math
import random
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from tests.toy import MACHINES

HEADER = "begins,machine,special,attended,grade,heat,core_heat,moisture,speed,material,part_a,part_b,amount"
YIELDS = {"steel": 1.0, "brass": 0.9, "oak": 1.1}  # of materials, relative to each other
MONTHS = ("2011-01", "2011-02", "2011-03")
PARAMS = Path(__file__).parents[1] / "params.yaml"
# Settings for this feed, whatever the project's are.
TEST_SETTINGS = {
    "first_month": '"2011-01"',
    "half_life_days": "30",
    "holdout_days": "7",
    "worst_ratio": "0.8",
}


def copy_params(folder: Path) -> None:
    """Copy the project's settings, with those that suit this feed."""
    text = PARAMS.read_text(encoding="utf-8")
    for key, value in TEST_SETTINGS.items():
        text = re.sub(rf"(?m)^( *{key}:) [^ #\n]+", rf"\g<1> {value}", text)
    (folder / PARAMS.name).write_text(text, encoding="utf-8", newline="\n")


def month_lines(month: str, seed: int = 0) -> list[str]:
    """The rows of a month, without the header: of each day those of the machines that made something.

    On attended days two groups of machines are busy, on others one.
    """
    return list(_month_lines(month, seed))


@cache
def _month_lines(month: str, seed: int) -> list[str]:
    rng = random.Random(f"{seed} {month}")
    day = datetime.strptime(month, "%Y-%m")
    lines: list[str] = []
    while f"{day:%Y-%m}" == month:
        attended = int(day.weekday() < 5)
        for position, machine in enumerate(MACHINES):
            grade = rng.choice((1, 1, 1, 2, 3))
            heat = 8 + 6 * math.sin((position - 9) / 24 * math.tau) + rng.gauss(0, 2)
            moisture = "" if rng.random() < 0.02 else f"{min(max(rng.gauss(0.6, 0.15), 0), 1):.2f}"
            material = tuple(YIELDS)[(day.day + position) % len(YIELDS)]
            mean = 8 + _level(position, attended) * (1.2 - 0.2 * grade) * YIELDS[material]
            amount = max(0, round(rng.gauss(mean, mean**0.5)))
            if amount:  # so there are gaps between rows
                part_a = rng.randint(0, amount // 4)
                lines.append(
                    f"{day.isoformat()},{machine},false,{attended},{grade},{heat:.2f},{heat - 1:.2f},"
                    f"{moisture},{abs(rng.gauss(0, 12)):.2f},{material},{part_a},{amount - part_a},{amount}"
                )
        day += timedelta(days=1)
    return lines


def _level(position: int, attended: int) -> float:
    peaks = ((8, 1.5, 200), (13, 4.0, 80), (17, 2.0, 200)) if attended else ((13, 4.0, 170),)
    return sum(height * math.exp(-(((position - at) / width) ** 2)) for at, width, height in peaks)


def write_feed(folder: Path, months: Iterable[str] = MONTHS, seed: int = 0) -> Path:
    """Publish these months in `folder`; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for month in months:
        write_month(folder / f"{month}.csv", month_lines(month, seed))
    return folder


def write_month(path: Path, lines: Iterable[str], header: str = HEADER) -> None:
    """Publish one month with these rows."""
    path.write_text("".join(f"{line}\n" for line in (header, *lines)), encoding="utf-8", newline="\n")
