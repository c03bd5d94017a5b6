"""Where lines, bars and marks lie in a plot: numbers for the page's SVG, as shares of its width and height.

Drawn this way a plot fits a phone and a wall alike: what is scaled are the lines, and the words beside them
keep their size. Nothing here knows what is drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

SIZE = 1000  # of the view box, in both directions


@dataclass(frozen=True)
class Tick:
    """A number or date beside an axis; `at` in percent, from the left or from the top."""

    at: float
    label: str


@dataclass(frozen=True)
class Scale:
    """From values to percent."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(100 * min(max(share, 0.0), 1.0), 2)


def across(first: datetime, last: datetime) -> Scale:
    """Time from left to right."""
    return Scale(first.timestamp(), max(last.timestamp(), first.timestamp() + 1))


def up(highest: float, low: float = 0.0) -> Scale:
    """Values from the bottom up, to a round number that is not below the highest."""
    return Scale(low, low + rounded_up(highest - low))


def rounded_up(value: float) -> float:
    """The next of 1, 2, 2.5, 4, 5, 8 and 10 times a power of ten; each has quarters or halves to label."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(each * power for each in (1, 2, 2.5, 4, 5, 8, 10) if each * power >= value * 0.999)


def path(points: Sequence[tuple[float, float | None]]) -> str:
    """SVG path through these points (percent from left and from bottom); a None interrupts it.

    A point that stands alone is a line of no length, which round ends make a dot.
    """
    drawn: list[str] = []
    length = 0
    for x, y in (*points, (0.0, None)):
        if y is None:
            drawn += ["h0"] if length == 1 else []
            length = 0
        else:
            drawn.append(f"{'L' if length else 'M'}{_at(x)} {_at(100 - y)}")
            length += 1
    return "".join(drawn)


def area(points: Sequence[tuple[float, float, float]]) -> str:
    """SVG path around what lies between two heights (percent from left; from bottom, lower and upper)."""
    if len(points) < 2:
        return ""
    around = [(x, high) for x, _, high in points] + [(x, low) for x, low, _ in reversed(points)]
    return path(around) + "Z"


def value_ticks(scale: Scale, count: int = 4) -> list[Tick]:
    """Round numbers from bottom to top, the lowest too."""
    step = (scale.high - scale.low) / count
    decimals = 0 if step >= 1 and step == int(step) else 1 if step >= 0.1 and round(step, 1) == step else 2
    values = [scale.low + number * step for number in range(count + 1)]
    return [Tick(round(100 - scale(value), 2), f"{value:,.{decimals}f}") for value in values]


def day_ticks(first: datetime, last: datetime, count: int = 6) -> list[Tick]:
    """Days, weeks or months, so that there are about `count` of them."""
    scale, span = across(first, last), (last - first).days
    if span <= 0:
        return [Tick(0.0, _day(first.date()))]
    if span > 20 * count:
        months = max(1, math.ceil(span / 30.4 / count))
        found: list[Tick] = []
        at = date(first.year, first.month, 1)
        while (moment := datetime(at.year, at.month, 1)) <= last:
            if moment >= first and (at.month - 1) % months == 0:
                label = f"{at:%b} {at.year}" if at.month == 1 or not found else f"{at:%b}"
                found.append(Tick(scale(moment.timestamp()), label))
            at = date(at.year + at.month // 12, at.month % 12 + 1, 1)
        return found
    step = max(1, math.ceil(span / count))
    begin = datetime(first.year, first.month, first.day)
    moments = [begin + timedelta(days=number) for number in range(0, span + 1, step)]
    return [Tick(scale(each.timestamp()), _day(each.date())) for each in moments]


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"


def _at(percent: float) -> str:
    return f"{percent * SIZE / 100:.5g}"
